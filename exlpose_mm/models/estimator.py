"""The pose estimator that runs one network under two lightings."""

from collections.abc import Sequence
from typing import Any

from mmpose.models.pose_estimators import BottomupPoseEstimator, TopdownPoseEstimator
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, OptConfigType, OptSampleList, SampleList
from torch import Tensor, nn

from exlpose_mm.lighting import LIGHTINGS, check_taps, lighting
from exlpose_mm.models.defaults import default_preprocessor
from exlpose_mm.models.dense_distillation import dense_output_of
from exlpose_mm.models.heads.dual_teacher import DualTeacherHead
from exlpose_mm.models.passes import check_norms, check_norms_learn, extract, has_specific_features
from exlpose_mm.models.teachers import MomentumTeacher
from exlpose_mm.models.transfer import select
from exlpose_mm.views import rows_by_lighting


class LightingEstimator(BasePoseEstimator):
    """What an estimator of MMPose becomes one of two lightings by; it comes before that one among a class's bases.

    In training each lighting is a forward pass of its own, as in the official code: the
    shared batch norms of the head see two batches. A backbone (and neck) without LSBN (the ablation)
    sees both lightings in one batch, as in baseline-all: its batch norms must train with the
    mixed statistics that they test with (unless ``separate_passes`` says otherwise). In testing the condition of an
    image is its sample's ``lighting``; a batch may mix them. ``mode='tensor'`` runs under low light, the condition of
    deployment.

    Args:
        backbone, neck, head, ...: As for
            :class:`mmpose.models.BasePoseEstimator`. The head is a
            :class:`~exlpose_mm.models.heads.dual_teacher.DualTeacherHead`, or bare in a test. Its config may have
            ``momentum_teacher``, which is the estimator's: the config of a
            :class:`~exlpose_mm.models.teachers.MomentumTeacher` of the whole network. The sigmas of its joints are
            by default those of ``metainfo``, if the model is given one, else ExLPose's. A ``data_preprocessor`` of
            stock MMPose is taken for that of well-lit images, see
            :func:`~exlpose_mm.models.defaults.default_preprocessor`.
        separate_passes (bool, optional): Whether each lighting is a pass of its own through backbone and neck in
            training. Without LSBN their batch norms then train with the statistics of one lighting and test with the
            mixture. With LSBN in all their norms nothing but rounding depends on it: one pass launches fewer kernels,
            for which a GPU waits in small batches, and moves more memory. Defaults to None: if there is LSBN or a
            denoiser.
        frozen (bool): Whether nothing but the backbone's denoiser learns, see
            :class:`~exlpose_mm.models.denoiser.DenoisedBackbone`: a model that learned in the light stays as it is,
            statistics included, and what the teachers and the labels of dark images say trains the network before it.

    Attributes:
        momentum_teacher (MomentumTeacher, optional): It averages, sees and teaches;
            :class:`~exlpose_mm.engine.hooks.momentum_teacher.MomentumTeacherHook` says when.

    Raises:
        ValueError: At build time, if backbone, neck or (wrapped) head was given ``norm_cfg=dict(type='LSBN2d')``
            but does not use it everywhere, recomputes it (``with_cp``) or keeps all its statistics in training
            (``norm_eval``), if a teacher taps an unknown layer, if it is ``frozen`` and has no denoiser, or as the
            teachers.
    """

    def __init__(
        self,
        backbone: ConfigType,
        neck: OptConfigType = None,
        head: OptConfigType = None,
        data_preprocessor: OptConfigType = None,
        separate_passes: bool | None = None,
        frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        head, teacher = _split(head)
        preprocessor = default_preprocessor(data_preprocessor)
        super().__init__(backbone, neck=neck, head=head, data_preprocessor=preprocessor, **kwargs)
        self.separate_passes = has_specific_features(self) if separate_passes is None else separate_passes
        cfgs = dict(backbone=backbone, neck=neck or {}, head=(head or {}).get('head', head or {}))
        for name, part in self.network.items():
            check_norms(part, cfgs[name])
            if not frozen:
                check_norms_learn(part, partly=True)
        if getattr(self.head, 'well_lit_teacher', None) is not None:
            self.head.well_lit_teacher.meet(self.backbone, self.head.head)
        check_taps(self.backbone, self._taps)
        self.momentum_teacher = None if teacher is None else self._build_momentum_teacher(**teacher)
        self.frozen = frozen
        if frozen:
            if not hasattr(self.backbone, 'denoiser'):
                raise ValueError("frozen=True leaves nothing to learn: give it backbone=dict(type='DenoisedBackbone')")
            self.network.requires_grad_(False)
            self.backbone.denoiser.requires_grad_(True)

    def train(self, mode: bool = True) -> 'LightingEstimator':
        """As for any module; what is frozen stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.network.eval()
            self.backbone.denoiser.train(mode)
        return self

    def _build_momentum_teacher(self, loss: ConfigType = {}, **kwargs: Any) -> MomentumTeacher:
        known = {} if self.metainfo is None else dict(sigmas=self.metainfo['sigmas'])
        return MomentumTeacher(self.network, loss={**known, **loss}, **kwargs)

    @property
    def network(self) -> nn.ModuleDict:
        """What makes predictions: ``backbone``, ``neck`` (if any) and ``head`` without its teachers."""
        parts = dict(backbone=self.backbone, head=getattr(self.head, 'head', self.head))
        if self.with_neck:
            parts['neck'] = self.neck
        return nn.ModuleDict(parts)

    @property
    def _taps(self) -> list[str]:
        return self.head.taps if isinstance(self.head, DualTeacherHead) else []

    def loss(self, inputs: dict[str, Tensor], data_samples: SampleList) -> dict:
        """Losses of a batch of pairs.

        Args:
            inputs (dict): Lighting to images (B', 3, H, W) of those samples that have one;
                perhaps also :data:`~exlpose_mm.views.MOMENTUM_VIEW` to low-light images,
                less degraded than the student's. Without it the momentum teacher sees the
                student's.
            data_samples (list[PoseDataSample]): B samples, one a pair or a single image.

        Returns:
            dict: What the head's ``loss`` returns.

        Raises:
            TypeError: If the head is not a ``DualTeacherHead``, which a test does without, or the images are of
                unnamed lightings, as a pipeline without pairs packs them.
            ValueError: If some low-light images come with a view for the momentum teacher and some without.
        """
        if not isinstance(inputs, dict):
            raise TypeError(
                'in training each image is named by its lighting: let the data set load pairs, lighting="paired", or '
                "have the pipeline end in dict(type='PackPairedInputs', inputs=['low_light', 'well_lit']), which packs "
                'those of the two that a sample has'
            )
        if not isinstance(self.head, DualTeacherHead):
            raise TypeError(
                f'a {type(self.head).__name__} cannot learn from two lightings at once: wrap it, '
                "head=dict(type='DualTeacherHead', head=dict(...)), with or without teachers"
            )
        lesson = self.momentum_teacher.lesson(inputs) if self.momentum_teacher else None
        inputs = {name: images for name, images in inputs.items() if name in LIGHTINGS}
        feats, taps = extract(self, inputs, self._taps)
        return self.head.loss(feats, data_samples, train_cfg=self.train_cfg, taps=taps, lesson=lesson)

    def predict(self, inputs: Tensor | Sequence[Tensor], data_samples: SampleList) -> SampleList:
        """Predict as MMPose does, each image under its sample's lighting.

        Args:
            inputs (Tensor | Sequence[Tensor]): (B, 3, H, W), or one such for each scale.
            data_samples (list[PoseDataSample]): B samples; their predictions are filled in.

        Raises:
            KeyError: If a sample carries no ``lighting``.
        """
        for name, indices in rows_by_lighting(data_samples).items():
            if isinstance(inputs, Tensor):
                images: Tensor | list[Tensor] = select(inputs, indices)
            else:
                images = [select(scale, indices) for scale in inputs]
            with lighting(self, name):
                super().predict(images, [data_samples[i] for i in indices])
        return data_samples

    def _forward(self, inputs: Tensor, data_samples: OptSampleList = None) -> Tensor | Sequence[Tensor]:
        with lighting(self, 'low_light'):
            return super()._forward(inputs, data_samples)


@MODELS.register_module()
class LightingPoseEstimator(LightingEstimator, TopdownPoseEstimator):
    """Top-down pose estimator whose network runs under a lighting condition; see :class:`LightingEstimator`."""


@MODELS.register_module()
class MultiScaleBottomupPoseEstimator(BottomupPoseEstimator):
    """MMPose's bottom-up estimator, whose test on several scales is reached.

    MMPose 1.x has one, ``test_cfg=dict(multiscale_test=True)``, but tries to stack the scales before it.
    """

    def forward(self, inputs: Tensor | list[Tensor], *args: Any, **kwargs: Any) -> Any:
        """As MMPose's; a list of batches (B, 3, H, W) are scales."""
        scales = isinstance(inputs, list) and inputs[0].dim() == 4
        return super().forward(tuple(inputs) if scales else inputs, *args, **kwargs)

    def predict(self, inputs: Tensor | Sequence[Tensor], data_samples: SampleList) -> SampleList:
        """As MMPose's."""
        return super().predict(inputs if isinstance(inputs, Tensor) else [*inputs], data_samples)


@MODELS.register_module()
class LightingBottomupPoseEstimator(LightingEstimator, MultiScaleBottomupPoseEstimator):
    """Bottom-up or single-stage estimator whose network runs under a lighting condition; see
    :class:`LightingEstimator`.

    With ``test_cfg=dict(multiscale_test=True)`` and the ``aug_scales`` of a ``BottomupResize`` it tests on several
    scales of an image.

    Raises:
        ValueError: Also if there is a momentum teacher but no rule to distil the head's output, see
            :func:`~exlpose_mm.models.dense_distillation.dense_output_of`.
    """

    def _build_momentum_teacher(self, loss: ConfigType = {}, **kwargs: Any) -> MomentumTeacher:
        dense_output_of(self.network['head'])
        return MomentumTeacher(self.network, loss=loss, **kwargs)


def _split(head: OptConfigType) -> tuple[OptConfigType, OptConfigType]:
    """The config of a head, and of the momentum teacher that is written beside it."""
    if head is None:
        return None, None
    head = head.copy()
    teacher = head.pop('momentum_teacher', None)
    return head, teacher
