"""Detectors of MMDetection that run one network under two lightings."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from mmdet.models.detectors import BaseDetector
from mmdet.models.utils import samplelist_boxtype2tensor
from mmdet.registry import MODELS
from mmdet.structures import OptSampleList, SampleList
from mmdet.utils import ConfigType, OptConfigType
from torch import Tensor, nn
from torch.nn.functional import pad

from exlpose_mm.lighting import LIGHTINGS, check_taps, lighting
from exlpose_mm.models.defaults import default_preprocessor
from exlpose_mm.models.passes import check_norms, check_norms_learn, extract, has_specific_features, of_pairs
from exlpose_mm.models.preprocessor import LightingDataPreprocessor
from exlpose_mm.models.teachers import WellLitTeacher
from exlpose_mm.models.transfer import select
from exlpose_mm.views import BatchViews, rows_by_lighting

HEADS = ('bbox_head', 'rpn_head', 'roi_head')
"""Names of a detector's heads; the last of those that it has says how much the style loss weighs."""


@MODELS.register_module()
class LightingDetDataPreprocessor(LightingDataPreprocessor):
    """One of MMDetection's preprocessors per lighting, as :class:`~exlpose_mm.LightingDataPreprocessor`.

    All images of a batch are padded alike, whatever their lighting: with zeros behind the normalisation, to the largest
    of them and a multiple of ``pad_size_divisor``.

    Args:
        low_light, well_lit (dict): Configs of ``DetDataPreprocessor``.
        merge (Sequence[str]): As for :class:`~exlpose_mm.LightingDataPreprocessor`.

    Raises:
        ValueError: As there, or if the two configs differ in ``pad_size_divisor``, or have ``batch_augments`` or masks
            (``pad_mask``, ``pad_seg``), which would change one image of a pair, or its labels once for each.
    """

    UNKNOWN = (*LightingDataPreprocessor.UNKNOWN, 'pad_mask', 'pad_seg')

    def __init__(self, low_light: ConfigType, well_lit: ConfigType, merge: Sequence[str] = ()) -> None:
        super().__init__(low_light, well_lit, merge)
        divisors = {cfg.get('pad_size_divisor', 1) for cfg in (low_light, well_lit)}
        if len(divisors) > 1:
            raise ValueError(f'pad_size_divisor is {sorted(divisors)}: give both lightings one')
        self.pad_size_divisor: int = divisors.pop()

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise and pad a batch; its samples get ``pad_shape`` and ``batch_input_shape`` (h, w)."""
        shapes = [tuple(map(self._padded, sample.img_shape)) for sample in data['data_samples']]
        whole = tuple(map(max, zip(*shapes)))
        for sample, shape in zip(data['data_samples'], shapes):
            sample.set_metainfo(dict(pad_shape=shape, batch_input_shape=whole))
        batch = super().forward(data, training)
        samplelist_boxtype2tensor(batch['data_samples'])
        return batch

    def _padded(self, side: int) -> int:
        return -(-side // self.pad_size_divisor) * self.pad_size_divisor

    def _run(self, name: str, images: Tensor | Sequence[Tensor], samples: SampleList, training: bool) -> Tensor:
        batch = super()._run(name, images, samples, training)
        height, width = samples[0].batch_input_shape
        return pad(batch, (0, width - batch.shape[-1], 0, height - batch.shape[-2]))


class LightingDetection(BaseDetector):
    """What a detector becomes one of two lightings by; it comes before the detector among a class's bases.

    As in :class:`~exlpose_mm.LightingPoseEstimator` each lighting is a forward pass of its own, of those images that a
    batch has of it; a backbone and neck without LSBN see both in one batch. The detector's losses are taken for each
    lighting with equal weight. In testing the condition of an image is its sample's ``lighting``; a batch may mix them.
    ``mode='tensor'`` runs under low light, the condition of deployment.

    Args:
        well_lit_teacher (dict, optional): Config of :class:`~exlpose_mm.models.teachers.WellLitTeacher`; ``dict()``
            takes its defaults.
        data_preprocessor (dict, optional): A ``LightingDetDataPreprocessor``; a ``DetDataPreprocessor`` is taken for
            that of well-lit images, see :func:`~exlpose_mm.models.defaults.default_preprocessor`.
        backbone, neck, ...: As for the detector.

    Loss keys: ``<lighting>.<key of the detector>`` and those of the teacher.

    Raises:
        ValueError: At build time, if backbone, neck or a head was given ``norm_cfg=dict(type='LSBN2d')`` but does not
            use it everywhere, recomputes it (``with_cp``) or keeps its statistics (``norm_eval``, ``frozen_stages``),
            if the teacher taps an unknown layer, or as :class:`LightingDetDataPreprocessor`.
    """

    def __init__(
        self,
        *,
        backbone: ConfigType,
        well_lit_teacher: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(backbone=backbone, data_preprocessor=_preprocessor(data_preprocessor), **kwargs)
        cfgs = dict(kwargs, backbone=backbone)
        for name, part in self._parts.items():
            check_norms(part, cfgs.get(name) or {})
            check_norms_learn(part)
        self.separate_passes = has_specific_features(self)
        self.well_lit_teacher = None if well_lit_teacher is None else WellLitTeacher(**well_lit_teacher)
        if self.well_lit_teacher:
            self.well_lit_teacher.meet(self.backbone, [*self._parts.values()][-1])
        check_taps(self.backbone, self._taps)

    @property
    def _parts(self) -> dict[str, nn.Module]:
        return {name: getattr(self, name) for name in ('backbone', 'neck', *HEADS) if hasattr(self, name)}

    @property
    def _taps(self) -> list[str]:
        return self.well_lit_teacher.taps if self.well_lit_teacher else []

    def extract_feat(self, batch_inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Features of images; what are features already stays."""
        return super().extract_feat(batch_inputs) if isinstance(batch_inputs, Tensor) else batch_inputs

    def loss(self, batch_inputs: dict[str, Tensor], batch_data_samples: SampleList) -> dict:
        """Losses of a batch of pairs.

        Args:
            batch_inputs (dict): Lighting to images (B', 3, H, W) of those samples that have one.
            batch_data_samples (list[DetDataSample]): B samples, one a pair or a single image.
        """
        views = BatchViews(batch_data_samples)
        images = {name: batch_inputs[name] for name in LIGHTINGS if name in batch_inputs}
        feats, taps = extract(self, images, self._taps)
        losses = {}
        for name, features in feats.items():
            with lighting(self, name):
                own = super().loss(features, [batch_data_samples[i] for i in views.rows[name]])
            losses.update({f'{name}.{key}': value for key, value in own.items()})
        if self.well_lit_teacher and views.pairs['low_light']:
            losses.update(self.well_lit_teacher.loss(of_pairs(taps, views)))
        return losses

    def predict(self, batch_inputs: Tensor, batch_data_samples: SampleList, **kwargs: Any) -> SampleList:
        """Predict as the detector does, each image under its sample's lighting.

        Raises:
            KeyError: If a sample carries no ``lighting``.
        """
        for name, indices in rows_by_lighting(batch_data_samples).items():
            with lighting(self, name):
                super().predict(select(batch_inputs, indices), [batch_data_samples[i] for i in indices], **kwargs)
        return batch_data_samples

    def _forward(self, batch_inputs: Tensor, batch_data_samples: OptSampleList = None) -> tuple:
        with lighting(self, 'low_light'):
            return super()._forward(batch_inputs, batch_data_samples)


@MODELS.register_module()
def LightingDetector(detector: str, **kwargs: Any) -> BaseDetector:
    """Build any detector of MMDetection as one of two lightings.

    In a config: ``model = dict(type='LightingDetector', detector='RTMDet', well_lit_teacher=dict(),
    backbone=dict(norm_cfg=dict(type='LSBN2d')))`` beside a base with the detector. Names of parameters are the
    detector's own, so that its checkpoints load.

    Args:
        detector (str): Its class, as MMDetection has registered it: of one stage, or of two.
        **kwargs: As for :class:`LightingDetection` and the detector.

    Raises:
        ValueError: If there is no such class, or as :class:`LightingDetection`.
    """
    kind = MODELS.get(detector)
    if not (isinstance(kind, type) and issubclass(kind, BaseDetector)):
        raise ValueError(f"MMDetection has no detector {detector!r}; name its class, as detector='RTMDet'")
    return _with_lightings(kind)(**kwargs)


@cache
def _with_lightings(kind: type[BaseDetector]) -> type[BaseDetector]:
    return type(f'Lighting{kind.__name__}', (LightingDetection, kind), dict(__module__=__name__))


def _preprocessor(cfg: OptConfigType) -> OptConfigType:
    both = default_preprocessor(cfg)
    return both if both is cfg else dict(both, type='LightingDetDataPreprocessor')
