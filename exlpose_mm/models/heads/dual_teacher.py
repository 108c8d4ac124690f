"""A head that supervises the low-light student by up to two teachers."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from mmpose.models.heads.base_head import BaseHead
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from mmpose.utils.typing import ConfigType, OptConfigType, OptSampleList, Predictions, SampleList
from torch import Tensor, nn

from exlpose_mm.joints import METAINFO
from exlpose_mm.lighting import LIGHTINGS, lighting, tap
from exlpose_mm.models.distillation import choose, output_of, similarity
from exlpose_mm.models.teachers import WellLitTeacher, merge_teachers
from exlpose_mm.models.transfer import select, to_device


@MODELS.register_module()
class DualTeacherHead(BaseHead):
    """Wraps any MMPose head and trains it on both lightings, with optional teachers.

    The wrapped head's own loss is taken for each lighting with equal weight (paper, section 4),
    of those samples whose labels may be used (:class:`~exlpose_mm.PackPairedInputs`). With the
    well-lit teacher and :class:`~exlpose_mm.models.losses.GramLoss` this is ExLPose's training; without a
    teacher it is the same network trained on both lightings. Prediction is the wrapped head's.

    The momentum teacher, which the paper has not, adds a target for the low-light output: see
    :class:`Distillation`.

    Args:
        head (dict): Config of the wrapped head.
        well_lit_teacher (dict, optional): Config of :class:`~exlpose_mm.models.teachers.WellLitTeacher`; ``dict()``
            takes its defaults.
        momentum_teacher (dict, optional): Config of
            :class:`~exlpose_mm.models.teachers.MomentumTeacher`, which the estimator builds, and
            beside it as ``loss`` the arguments of :class:`Distillation`.
        adversary (dict, optional): Config of a loss on the last features of both lightings,
            e.g. :class:`~exlpose_mm.models.adversarial.DomainAdversarialLoss`. Of a lighting that a batch lacks
            it gets none.

    Loss keys: ``<lighting>.<key of the wrapped head>``, the teachers' own and
    ``loss_adversary``.

    Raises:
        ValueError: As the teachers.
    """

    def __init__(
        self,
        head: ConfigType,
        well_lit_teacher: OptConfigType = None,
        momentum_teacher: OptConfigType = None,
        adversary: OptConfigType = None,
    ) -> None:
        super().__init__()
        self.head = MODELS.build(head)
        self.well_lit_teacher = None if well_lit_teacher is None else WellLitTeacher(**well_lit_teacher)
        self.momentum_teacher_cfg, self.distillation = None, None
        if momentum_teacher is not None:
            self.momentum_teacher_cfg = dict(momentum_teacher)
            self.distillation = Distillation(self.head, **self.momentum_teacher_cfg.pop('loss', {}))
        self.adversary = adversary and MODELS.build(adversary)

    @property
    def taps(self) -> list[str]:
        """Backbone layers that the teachers look at."""
        return self.well_lit_teacher.taps if self.well_lit_teacher else []

    @property
    def output_layers(self) -> list[str]:
        """Layers of the wrapped head that the momentum teacher compares."""
        return self.distillation.output.layers if self.distillation else []

    @property
    def decoder(self):
        """The wrapped head's codec."""
        return self.head.decoder

    def forward(self, feats):
        """The wrapped head's output."""
        return self.head(feats)

    def predict(self, feats, batch_data_samples: OptSampleList, test_cfg: OptConfigType = {}) -> Predictions:
        """The wrapped head's predictions."""
        return self.head.predict(feats, batch_data_samples, test_cfg=test_cfg)

    def loss(
        self,
        feats: dict[str, Sequence[Tensor]],
        batch_data_samples: SampleList,
        train_cfg: OptConfigType = {},
        taps: dict[str, dict[str, Tensor]] = {},
        momentum: list[Tensor] | None = None,
    ) -> dict:
        """Losses of a batch of B samples, each a pair or a single image.

        Args:
            feats (dict): Lighting to the features that the wrapped head takes, of those
                samples that have an image of this lighting.
            batch_data_samples (list[PoseDataSample]): B samples. ``lighting`` names the images of
                each; without it they are pairs.
            train_cfg (dict): Passed on.
            taps (dict): Lighting to layer name to features, for the teachers.
            momentum (list[Tensor], optional): What the momentum teacher put out, if it teaches.
        """
        people = {name: [sample for sample in batch_data_samples if name in lightings_of(sample)] for name in feats}
        losses, outputs = {}, {}
        for name, x in feats.items():
            with lighting(self.head, name):
                own, outputs[name] = self._supervise(name, x, people[name], train_cfg)
            losses.update({f'{name}.{key}': value for key, value in own.items()})
        pairs = partners(batch_data_samples)
        if self.well_lit_teacher and len(pairs['low_light']):
            losses.update(
                self.well_lit_teacher.loss(
                    {name: {layer: select(x, pairs[name]) for layer, x in of.items()} for name, of in taps.items()}
                )
            )
        if self.distillation and 'low_light' in outputs:
            losses.update(self.distillation(outputs, momentum, people['low_light'], pairs))
        if self.adversary:
            nothing = next(iter(feats.values()))[-1][:0]
            last = [feats[name][-1] if name in feats else nothing for name in LIGHTINGS]
            losses['loss_adversary'] = self.adversary(*last)
        return losses

    def _supervise(
        self, name: str, feats: Sequence[Tensor], people: SampleList, train_cfg: OptConfigType
    ) -> tuple[dict, list[Tensor]]:
        """The wrapped head's loss on the labelled people, and its output of all of them."""
        labelled = [is_labelled(person, name) for person in people]
        rows, rest = ([i for i, has in enumerate(labelled) if has is wanted] for wanted in (True, False))
        losses, parts = {}, []
        if rows:
            with tap(self.head, self.output_layers) as output:
                losses = self.head.loss(
                    tuple(select(x, rows) for x in feats), [people[i] for i in rows], train_cfg=train_cfg
                )
            parts.append(output)
        if rest:
            with tap(self.head, self.output_layers) as output:
                self.head.forward(tuple(select(x, rest) for x in feats))
            parts.append(output)
        joint = [torch.cat([part[layer] for part in parts]) for layer in self.output_layers]
        if rows and rest and joint:
            order = to_device(np.argsort(rows + rest), joint[0])
            joint = [output.index_select(0, order) for output in joint]
        return losses, joint


def lightings_of(sample: PoseDataSample) -> Sequence[str]:
    """Lightings of a sample's images: its ``lighting``, or both."""
    names = sample.metainfo.get('lighting', LIGHTINGS)
    return (names,) if isinstance(names, str) else names


def is_labelled(sample: PoseDataSample, lighting_name: str) -> bool:
    """Whether the labels of a sample may be used on its image of this lighting."""
    return lighting_name in sample.metainfo.get('labelled', LIGHTINGS)


def partners(samples: SampleList) -> dict[str, list[int]]:
    """Where the images of the pairs are in the batch of each lighting: two lists of one length."""
    present = [[name in lightings_of(sample) for name in LIGHTINGS] for sample in samples]
    both = [i for i, has in enumerate(present) if all(has)]
    return {name: [sum(has[column] for has in present[:i]) for i in both] for column, name in enumerate(LIGHTINGS)}


class Distillation(nn.Module):
    """Distance of the low-light output to the target that the two teachers agree upon.

    The well-lit teacher is the network's own output on the partner, the momentum teacher the
    moving average's on the same dark image; :func:`~exlpose_mm.models.teachers.merge_teachers` says
    whom each joint follows. Labels are not looked at, so that joints without one are taught too.

    Args:
        head (nn.Module): The wrapped head.
        loss_weight (float): Defaults to 1.
        min_confidence (tuple[float]): Of the well-lit and of the momentum teacher, in units
            of :func:`~exlpose_mm.models.distillation.output_of`'s confidence. More than 1 silences one.
        unlabelled_only (bool): Teach only people whose low-light image has no labels, as in
            semi-supervised training. Defaults to False: everybody.
        sigmas (Sequence[float]): Of the joints, for their agreement. Defaults to ExLPose's.

    Raises:
        ValueError: If there is no rule to distil this head's output, or it has another number of joints than
            there are sigmas.
    """

    def __init__(
        self,
        head: nn.Module,
        loss_weight: float = 1.0,
        min_confidence: tuple[float, float] = (0.3, 0.3),
        unlabelled_only: bool = False,
        sigmas: Sequence[float] = METAINFO['sigmas'],
    ) -> None:
        super().__init__()
        joints = getattr(head, 'out_channels', len(sigmas))
        if joints != len(sigmas):
            raise ValueError(
                f'the head has {joints} joints, but the momentum teacher {len(sigmas)} sigmas (by default '
                "ExLPose's): give it the data set's, momentum_teacher=dict(loss=dict(sigmas=[...]))"
            )
        self.output = output_of(head)
        self.loss_weight = loss_weight
        self.min_confidence = tuple(min_confidence)
        self.unlabelled_only = unlabelled_only
        self.register_buffer('sigmas', torch.tensor(sigmas), persistent=False)

    def forward(
        self,
        outputs: dict[str, list[Tensor]],
        momentum: list[Tensor] | None,
        samples: SampleList,
        pairs: dict[str, list[int]],
    ) -> dict:
        """The loss, and the fraction of joints that each teacher supplied.

        Args:
            outputs (dict): Lighting to the head's output.
            momentum (list[Tensor], optional): The momentum teacher's; None during its burn-in,
                in which the well-lit teacher speaks alone.
            samples (list[PoseDataSample]): B samples, those with a low-light image, with
                ``gt_instances`` of ``bboxes`` and ``bbox_scales``.
            pairs (dict): Lighting to the rows of the pairs, as :func:`partners` gives them.

        Returns:
            dict: ``loss_distill``, ``taught_by_well_lit``, ``taught_by_momentum``.
        """
        student = outputs['low_light']
        boxes, crops, has_partner, taught = self._facts(samples, pairs)
        burning_in = momentum is None
        if burning_in:
            momentum = [tensor.detach() for tensor in student]
        well_lit = [tensor.detach().clone() for tensor in momentum]
        low, well = to_device([pairs[name] for name in LIGHTINGS], self.sigmas, torch.long)
        for mine, theirs in zip(well_lit, outputs.get('well_lit', [])):
            mine.index_copy_(0, low, theirs.detach().index_select(0, well).to(mine))
        first, second = self.output.verdict(well_lit), self.output.verdict(momentum)
        if burning_in:
            second = replace(second, confidence=torch.full_like(second.confidence, -torch.inf))
        agreement = similarity(first.position, second.position, boxes, crops, self.sigmas)
        merged = merge_teachers(first, second, has_partner, agreement, self.min_confidence).among(taught)
        target = choose(well_lit, momentum, merged.from_well_lit)
        distances = self.output.distances(student, target)
        mean = (merged.weight * distances).sum() / (taught.sum() * distances.shape[1]).clamp(min=1)
        return dict(loss_distill=self.loss_weight * mean, **merged.shares())

    def _facts(self, samples: SampleList, pairs: dict[str, list[int]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Width and height of people's boxes and of their crops, each (B, 2), in pixels of the image; and (B, ) bool
        each, who has a partner and who is taught at all."""
        facts = np.zeros((len(samples), 6), np.float32)
        for row, sample in zip(facts, samples):
            people = sample.gt_instances
            row[:2], row[2:4] = people.bboxes[0, 2:] - people.bboxes[0, :2], people.bbox_scales[0]
            row[5] = not (self.unlabelled_only and is_labelled(sample, 'low_light'))
        facts[pairs['low_light'], 4] = 1
        boxes, crops, partner, taught = to_device(facts, self.sigmas).split([2, 2, 1, 1], dim=1)
        return boxes, crops, partner[:, 0] > 0, taught[:, 0] > 0
