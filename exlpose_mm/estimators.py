"""The pose estimator that runs one network under two lightings."""
from typing import Dict, List, Sequence, Tuple

import torch
from mmengine.model import BaseDataPreprocessor
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, SampleList
from torch import Tensor, nn

from .heads import DualTeacherHead
from .lighting import (LIGHTINGS, check_lighting, check_lsbn, check_taps, check_without_checkpointing, lighting,
                       lsbn_layers, tap)
from .teachers import MomentumTeacher
from .transforms import MOMENTUM_VIEW


@MODELS.register_module()
class LightingDataPreprocessor(BaseDataPreprocessor):
    """One MMPose preprocessor per lighting.

    Args:
        low_light (dict): Config of the preprocessor of low-light images, usually a
            ``PoseDataPreprocessor``.
        well_lit (dict): The same for well-lit images.
        merge (Sequence[str]): Lightings whose images are concatenated, in this order, to
            one ordinary batch, for networks that know nothing of lightings. This makes the
            paper's baselines out of any stock MMPose model: baseline-all merges both,
            baseline-low and baseline-well take one. Defaults to (): keep pairs as pairs.

    Input: ``inputs`` is a dict of lighting to B images (C, H, W) for pairs, and perhaps of
    :data:`~exlpose_mm.transforms.MOMENTUM_VIEW` to B low-light images. An image that a sample has
    not is None, and the batch of that lighting is smaller by it. A plain list
    is taken as images of the lighting that each sample's ``lighting`` names.

    Raises:
        ValueError: If ``merge`` names an unknown lighting.
    """

    def __init__(self, low_light: ConfigType, well_lit: ConfigType,
                 merge: Sequence[str] = ()) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(
            {name: MODELS.build(cfg) for name, cfg in zip(LIGHTINGS, (low_light, well_lit))})
        self.merge = [check_lighting(name) for name in merge]

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch.

        Returns:
            dict: ``data_samples``, and ``inputs`` as dict of lighting to (B, C, H, W) for
            pairs, or as one (B, C, H, W) for single images and merged pairs.
        """
        inputs, samples = data['inputs'], data['data_samples']
        if not isinstance(inputs, dict):
            return self._forward_singles(inputs, samples, training)
        batches = {name: self._run_present(name, inputs[name], samples, training)
                   for name in self.merge or inputs}
        batches = {name: images for name, images in batches.items() if images is not None}
        samples = self.cast_data(samples)
        if self.merge:
            return dict(inputs=torch.cat([*batches.values()]), data_samples=samples * len(batches))
        return dict(inputs=batches, data_samples=samples)

    def _run_present(self, name: str, images, samples: SampleList, training: bool):
        """The batch (B', C, H, W) of those samples that have such an image; None if none has."""
        present = [i for i, image in enumerate(images) if image is not None]
        if not present:
            return None
        lighting_name = 'low_light' if name == MOMENTUM_VIEW else name
        return self._run(lighting_name, [images[i] for i in present], [samples[i] for i in present],
                         training)['inputs']

    def _forward_singles(self, inputs, samples: SampleList, training: bool) -> dict:
        outputs = [None] * len(samples)
        for name, indices in group_by_lighting(samples).items():
            batch = self._run(name, [inputs[i] for i in indices], [samples[i] for i in indices],
                              training)['inputs']
            for i, image in zip(indices, batch):
                outputs[i] = image
        return dict(inputs=torch.stack(outputs), data_samples=self.cast_data(samples))

    def _run(self, name: str, images, samples: SampleList, training: bool) -> dict:
        return self.branches[name](dict(inputs=images, data_samples=samples), training)


@MODELS.register_module()
class LightingPoseEstimator(TopdownPoseEstimator):
    """Top-down pose estimator whose network runs under a lighting condition.

    In training each lighting is a forward pass of its own, as in the official code: the
    shared batch norms of the head see two batches. A network without LSBN (the ablation)
    sees both lightings in one batch, as in baseline-all: its batch norms must train with the
    mixed statistics that they test with. In testing the condition of an image is its sample's
    ``lighting``; a batch may mix them. ``mode='tensor'`` runs under low light, the condition of
    deployment.

    Args:
        backbone, neck, head, ...: As for
            :class:`mmpose.models.TopdownPoseEstimator`. The head is usually a
            :class:`~exlpose_mm.heads.DualTeacherHead`.

    Raises:
        ValueError: At build time, if the backbone was given ``norm_cfg=dict(type='LSBN2d')``
            but does not use it everywhere or recomputes it (``with_cp``), or if a teacher taps an
            unknown layer.
    """

    def __init__(self, backbone: ConfigType, *args, **kwargs) -> None:
        super().__init__(backbone, *args, **kwargs)
        wants_lsbn = (backbone.get('norm_cfg') or {}).get('type') == 'LSBN2d'
        if wants_lsbn or lsbn_layers(self.backbone):
            check_lsbn(self.backbone)
        check_without_checkpointing(self.backbone)
        check_taps(self.backbone, self._taps)
        self.momentum_teacher = None
        if isinstance(self.head, DualTeacherHead) and self.head.momentum_teacher_cfg is not None:
            self.momentum_teacher = MomentumTeacher(self.network, **self.head.momentum_teacher_cfg)

    @property
    def network(self) -> nn.ModuleDict:
        """What makes predictions: ``backbone``, ``neck`` (if any) and ``head`` without its teachers."""
        parts = dict(backbone=self.backbone, head=getattr(self.head, 'head', self.head))
        if self.with_neck:
            parts['neck'] = self.neck
        return nn.ModuleDict(parts)

    @property
    def _taps(self) -> List[str]:
        return self.head.taps if isinstance(self.head, DualTeacherHead) else []

    def loss(self, inputs: Dict[str, Tensor], data_samples: SampleList) -> dict:
        """Losses of a batch of pairs.

        Args:
            inputs (dict): Lighting to images (B', 3, H, W) of those samples that have one;
                perhaps also :data:`~exlpose_mm.transforms.MOMENTUM_VIEW` to low-light images,
                less degraded than the student's. Without it the momentum teacher sees the
                student's.
            data_samples (list[PoseDataSample]): B samples, one a pair or a single image.

        Returns:
            dict: What the head's ``loss`` returns.
        """
        inputs = dict(inputs)
        taught = self._ask_momentum_teacher(inputs.pop(MOMENTUM_VIEW, inputs.get('low_light')))
        extract = self._extract_each if lsbn_layers(self) else self._extract_jointly
        feats, taps = extract(inputs)
        return self.head.loss(feats, data_samples, train_cfg=self.train_cfg, taps=taps, **taught)

    def _ask_momentum_teacher(self, images: Tensor) -> dict:
        if images is None or self.momentum_teacher is None or not self.momentum_teacher.teaches:
            return {}
        return dict(momentum=self.momentum_teacher(images, self.head.output_layers))

    def _extract_each(self, inputs: Dict[str, Tensor]) -> Tuple[dict, dict]:
        feats, taps = {}, {}
        for name, images in inputs.items():
            with lighting(self, name), tap(self.backbone, self._taps) as taps[name]:
                feats[name] = self.extract_feat(images)
        return feats, taps

    def _extract_jointly(self, inputs: Dict[str, Tensor]) -> Tuple[dict, dict]:
        sizes = [len(images) for images in inputs.values()]
        with tap(self.backbone, self._taps) as outputs:
            joint = self.extract_feat(torch.cat([*inputs.values()]))
        feats = dict(zip(inputs, zip(*(x.split(sizes) for x in joint))))
        taps = {name: {key: x.split(sizes)[i] for key, x in outputs.items()}
                for i, name in enumerate(inputs)}
        return feats, taps

    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Predict as MMPose does, each image under its sample's lighting.

        Args:
            inputs (Tensor): (B, 3, H, W).
            data_samples (list[PoseDataSample]): B samples; their predictions are filled in.

        Raises:
            KeyError: If a sample carries no ``lighting``.
        """
        for name, indices in group_by_lighting(data_samples).items():
            with lighting(self, name):
                super().predict(inputs[indices], [data_samples[i] for i in indices])
        return data_samples

    def _forward(self, inputs: Tensor, data_samples=None):
        with lighting(self, 'low_light'):
            return super()._forward(inputs, data_samples)


def group_by_lighting(samples: SampleList) -> Dict[str, List[int]]:
    """Indices of the samples of each lighting, in order of appearance.

    Raises:
        KeyError: If a sample carries no ``lighting``.
        ValueError: If a lighting is unknown.
    """
    groups: Dict[str, List[int]] = {}
    for i, sample in enumerate(samples):
        if 'lighting' not in sample.metainfo:
            raise KeyError(f'the sample of {sample.metainfo.get("img_path")} carries no "lighting": put '
                           'TagLighting in the pipeline and pack with PackPairedInputs')
        groups.setdefault(check_lighting(sample.metainfo['lighting']), []).append(i)
    return groups
