"""A head that supervises the low-light student by up to two teachers."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.models.heads.base_head import BaseHead
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, Features, OptConfigType, OptSampleList, Predictions, SampleList
from torch import Tensor

from exlpose_mm.lighting import LIGHTINGS, lighting, tap
from exlpose_mm.models.passes import of_pairs
from exlpose_mm.models.teachers import Lesson, WellLitTeacher
from exlpose_mm.models.transfer import select, to_device
from exlpose_mm.views import BatchViews


@MODELS.register_module()
class DualTeacherHead(BaseHead):
    """Wraps any MMPose head and trains it on both lightings, with optional teachers.

    The wrapped head's own loss is taken for each lighting with equal weight (paper, section 4),
    of those samples whose labels may be used (:class:`~exlpose_mm.PackPairedInputs`). With the
    well-lit teacher and :class:`~exlpose_mm.models.losses.GramLoss` this is ExLPose's training; without a
    teacher it is the same network trained on both lightings. Prediction is the wrapped head's.

    The momentum teacher, which the paper has not, adds a target for the low-light output: see
    :class:`~exlpose_mm.models.distillation.Distillation`. Its config, ``momentum_teacher``, is written beside these
    arguments; :class:`~exlpose_mm.LightingPoseEstimator`, which has the whole network to average, takes it from there.

    In state dicts the wrapped head's entries have the names that they have without this one, so that checkpoints
    of a model with the bare head load, and the other way round.

    Args:
        head (dict): Config of the wrapped head.
        well_lit_teacher (dict, optional): Config of :class:`~exlpose_mm.models.teachers.WellLitTeacher`; ``dict()``
            takes its defaults.
        adversary (dict, optional): Config of a loss on the last features of both lightings,
            e.g. :class:`~exlpose_mm.models.adversarial.DomainAdversarialLoss`. Of a lighting that a batch lacks
            it gets none.

    Loss keys: ``<lighting>.<key of the wrapped head>``, the teachers' own and
    ``loss_adversary``.

    Raises:
        ValueError: As the teachers, or if the wrapped head's parts have names of this one's.
    """

    def __init__(
        self, head: ConfigType, well_lit_teacher: OptConfigType = None, adversary: OptConfigType = None
    ) -> None:
        super().__init__()
        self.head = MODELS.build(head)
        self.well_lit_teacher = None if well_lit_teacher is None else WellLitTeacher(**well_lit_teacher)
        self.adversary = adversary and MODELS.build(adversary)
        clash = sorted(self._own & {name for name, _ in self.head.named_children()})
        if clash:
            raise ValueError(f'{type(self.head).__name__} has parts named {clash}, as the DualTeacherHead has')
        self._register_state_dict_hook(_without_wrapper)
        self._version_in_file: int | None = None
        hook = self.head._register_load_state_dict_pre_hook(self._tell_version)
        self.head._load_state_dict_pre_hooks.move_to_end(hook.id, last=False)

    def _tell_version(self, _state_dict: dict, _prefix: str, facts: dict, *args: Any) -> None:
        """Tell the wrapped head, which may convert what an older one has saved, the version of this one's entries."""
        if self._version_in_file is not None:
            facts.setdefault('version', self._version_in_file)

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, local_metadata: dict, *args: Any, **kwargs: Any
    ) -> None:
        self._version_in_file = local_metadata.get('version')
        for key in [key for key in state_dict if key.startswith(prefix)]:
            name = key[len(prefix) :]
            if name.partition('.')[0] not in self._own:
                state_dict[f'{prefix}head.{name}'] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args, **kwargs)

    @property
    def _own(self) -> set[str]:
        """Its own parts, beside the wrapped head."""
        return {name for name, _ in self.named_children()} - {'head'}

    @property
    def taps(self) -> list[str]:
        """Backbone layers that the teachers look at."""
        return self.well_lit_teacher.taps if self.well_lit_teacher else []

    @property
    def decoder(self) -> BaseKeypointCodec:
        """The wrapped head's codec."""
        return self.head.decoder

    def forward(self, feats: Features) -> Tensor | Sequence[Tensor]:
        """The wrapped head's output."""
        return self.head(feats)

    def predict(self, feats: Features, batch_data_samples: OptSampleList, test_cfg: OptConfigType = {}) -> Predictions:
        """The wrapped head's predictions."""
        return self.head.predict(feats, batch_data_samples, test_cfg=test_cfg)

    def loss(
        self,
        feats: dict[str, Sequence[Tensor]],
        batch_data_samples: SampleList,
        train_cfg: OptConfigType = {},
        taps: dict[str, dict[str, Tensor]] = {},
        lesson: Lesson | None = None,
    ) -> dict:
        """Losses of a batch of B samples, each a pair or a single image.

        Args:
            feats (dict): Lighting to the features that the wrapped head takes, of those
                samples that have an image of this lighting.
            batch_data_samples (list[PoseDataSample]): B samples. ``lighting`` names the images of
                each; without it they are pairs.
            train_cfg (dict): Passed on.
            taps (dict): Lighting to layer name to features, for the teachers.
            lesson (Lesson, optional): Of the momentum teacher.
        """
        views = BatchViews(batch_data_samples)
        losses, outputs = {}, {}
        for name, x in feats.items():
            people = [batch_data_samples[i] for i in views.rows[name]]
            with lighting(self.head, name):
                own, outputs[name] = self._supervise(
                    x, people, views.labelled[name], train_cfg, lesson.layers if lesson else ()
                )
            losses.update({f'{name}.{key}': value for key, value in own.items()})
        if self.well_lit_teacher and views.pairs['low_light']:
            losses.update(self.well_lit_teacher.loss(of_pairs(taps, views)))
        if lesson and 'low_light' in outputs:
            losses.update(lesson.loss(outputs, batch_data_samples, views))
        if self.adversary:
            nothing = next(iter(feats.values()))[-1][:0]
            last = [feats[name][-1] if name in feats else nothing for name in LIGHTINGS]
            losses['loss_adversary'] = self.adversary(*last)
        return losses

    def _supervise(
        self,
        feats: Sequence[Tensor],
        people: SampleList,
        labelled: Sequence[bool],
        train_cfg: OptConfigType,
        layers: Iterable[str],
    ) -> tuple[dict, list[Tensor]]:
        """The wrapped head's loss on the labelled people, and what its layers put out for all of them.

        In training the others are seen also if no layer is asked for: the head's norms measure all people.
        """
        rows, rest = ([i for i, has in enumerate(labelled) if has is wanted] for wanted in (True, False))
        losses, parts = {}, []
        if rows:
            with tap(self.head, layers) as output:
                losses = self.head.loss(
                    tuple(select(x, rows) for x in feats), [people[i] for i in rows], train_cfg=train_cfg
                )
            parts.append(output)
        if rest and (layers or self.head.training):
            with tap(self.head, layers) as output:
                self.head.forward(tuple(select(x, rest) for x in feats))
            parts.append(output)
        joint = [torch.cat([part[layer] for part in parts]) for layer in layers]
        if rows and rest and joint:
            order = to_device(np.argsort(rows + rest), joint[0])
            joint = [output.index_select(0, order) for output in joint]
        return losses, joint


def _without_wrapper(_head: DualTeacherHead, state_dict: dict, prefix: str, _metadata: dict) -> None:
    """Give the wrapped head's entries the names that they have without the wrapper."""
    wrapped = f'{prefix}head.'
    for key in [key for key in state_dict if key.startswith(wrapped)]:
        state_dict[prefix + key[len(wrapped) :]] = state_dict.pop(key)
    versions = getattr(state_dict, '_metadata', {})
    for key in [key for key in versions if f'{key}.'.startswith(wrapped)]:
        versions[(prefix + key[len(wrapped) :]).rstrip('.')] = versions.pop(key)
