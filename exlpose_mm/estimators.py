"""The pose estimator that runs one network under two lightings."""
from typing import Dict, List, Optional, Sequence, Tuple, Union

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
from .transfer import select, some_images
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
    is taken as images of the lighting that each sample's ``lighting`` names. Instead of lists it takes what
    :func:`~exlpose_mm.transfer.stack_views` makes of them, of which it moves one tensor for each view; nobody waits
    for that if they are in pinned memory.

    Raises:
        ValueError: If ``merge`` names an unknown lighting, or a batch has no image of those it names.
    """

    def __init__(self, low_light: ConfigType, well_lit: ConfigType,
                 merge: Sequence[str] = ()) -> None:
        super().__init__(non_blocking=True)
        cfgs = dict(zip(LIGHTINGS, (low_light, well_lit)))
        # The branches would reorder channels by a list, for which the host waits; of a batch it is a flip.
        self.swapped = {name for name, cfg in cfgs.items()
                        if bool(cfg.get('bgr_to_rgb')) != bool(cfg.get('rgb_to_bgr'))}
        plain = dict(bgr_to_rgb=False, rgb_to_bgr=False)
        self.branches = nn.ModuleDict({name: MODELS.build({**cfg, **(plain if name in self.swapped else {})})
                                       for name, cfg in cfgs.items()})
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
        present = {name: some_images(inputs.get(name, ())) for name in self.merge or inputs}
        batches = {name: self._run('low_light' if name == MOMENTUM_VIEW else name, images,
                                   [samples[i] for i in rows], training)
                   for name, (rows, images) in present.items() if rows}
        samples = self.cast_data(samples)
        if self.merge:
            return self._merge(batches, [samples[i] for rows, _ in present.values() for i in rows])
        return dict(inputs=batches, data_samples=samples)

    def _merge(self, batches: Dict[str, Tensor], samples: SampleList) -> dict:
        if not batches:
            raise ValueError(f'no sample of the batch has an image of {" or ".join(self.merge)}, as `merge` asks for')
        return dict(inputs=torch.cat([*batches.values()]), data_samples=samples)

    def _forward_singles(self, inputs, samples: SampleList, training: bool) -> dict:
        outputs = [None] * len(samples)
        for name, indices in group_by_lighting(samples).items():
            batch = self._run(name, [inputs[i] for i in indices], [samples[i] for i in indices], training)
            for i, image in zip(indices, batch):
                outputs[i] = image
        return dict(inputs=torch.stack(outputs), data_samples=self.cast_data(samples))

    def _run(self, name: str, images: Union[Tensor, Sequence[Tensor]], samples: SampleList,
             training: bool) -> Tensor:
        """One batch (B, C, H, W): one transfer, if the images have one size."""
        if not isinstance(images, Tensor) and len({image.shape for image in images}) == 1:
            images = torch.stack([*images])
        if isinstance(images, Tensor):
            images = self.cast_data(images)
        if name in self.swapped:
            images = images.flip(1) if isinstance(images, Tensor) else [image.flip(0) for image in images]
        branch = self.branches[name]
        # It would move all samples to the device to no avail: forward does that once.
        samples = samples if getattr(branch, 'batch_augments', None) else []
        return branch(dict(inputs=images, data_samples=samples), training)['inputs']


@MODELS.register_module()
class LightingPoseEstimator(TopdownPoseEstimator):
    """Top-down pose estimator whose network runs under a lighting condition.

    In training each lighting is a forward pass of its own, as in the official code: the
    shared batch norms of the head see two batches. A backbone (and neck) without LSBN (the ablation)
    sees both lightings in one batch, as in baseline-all: its batch norms must train with the
    mixed statistics that they test with. In testing the condition of an image is its sample's
    ``lighting``; a batch may mix them. ``mode='tensor'`` runs under low light, the condition of
    deployment.

    Args:
        backbone, neck, head, ...: As for
            :class:`mmpose.models.TopdownPoseEstimator`. The head is usually a
            :class:`~exlpose_mm.heads.DualTeacherHead`.

    Raises:
        ValueError: At build time, if backbone, neck or (wrapped) head was given ``norm_cfg=dict(type='LSBN2d')``
            but does not use it everywhere or recomputes it (``with_cp``), or if a teacher taps an
            unknown layer.
    """

    def __init__(self, backbone: ConfigType, *args, **kwargs) -> None:
        super().__init__(backbone, *args, **kwargs)
        cfgs = dict(kwargs, backbone=backbone)
        for name, part in self.network.items():
            cfg = cfgs.get(name) or {}
            self._check_norms(part, cfg.get('head', cfg))
        check_taps(self.backbone, self._taps)
        self.momentum_teacher = None
        if isinstance(self.head, DualTeacherHead) and self.head.momentum_teacher_cfg is not None:
            self.momentum_teacher = MomentumTeacher(self.network, **self.head.momentum_teacher_cfg)

    @staticmethod
    def _check_norms(part: nn.Module, cfg: ConfigType) -> None:
        if (cfg.get('norm_cfg') or {}).get('type') == 'LSBN2d' or lsbn_layers(part):
            check_lsbn(part)
        check_without_checkpointing(part)

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

        Raises:
            ValueError: If some low-light images come with a view for the momentum teacher and some without.
        """
        inputs = dict(inputs)
        taught = self._ask_momentum_teacher(inputs.pop(MOMENTUM_VIEW, None), inputs.get('low_light'))
        extract = self._extract_each if self._has_specific_features else self._extract_jointly
        feats, taps = extract(inputs)
        return self.head.loss(feats, data_samples, train_cfg=self.train_cfg, taps=taps, **taught)

    @property
    def _has_specific_features(self) -> bool:
        return bool(lsbn_layers(self.backbone) or self.with_neck and lsbn_layers(self.neck))

    def _ask_momentum_teacher(self, views: Optional[Tensor], images: Optional[Tensor]) -> dict:
        if images is None or self.momentum_teacher is None or not self.momentum_teacher.teaches:
            return {}
        views = images if views is None else views
        if len(views) != len(images):
            raise ValueError(f'{len(images)} low-light images, but {len(views)} views of them for the momentum '
                             'teacher: put AddMomentumView into all pipelines that load low-light images, or into none')
        return dict(momentum=self.momentum_teacher(views, self.head.output_layers))

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
                super().predict(select(inputs, indices), [data_samples[i] for i in indices])
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
