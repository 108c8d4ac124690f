"""A head that supervises the low-light student by up to two teachers."""
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from mmpose.models.heads.base_head import BaseHead
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, OptConfigType, OptSampleList, Predictions, SampleList
from torch import Tensor, nn

from ..datasets import METAINFO
from ..distillation import choose, output_of, similarity
from ..lighting import LIGHTINGS, check_lighting, tap
from ..teachers import WellLitTeacher, merge_teachers


@MODELS.register_module()
class DualTeacherHead(BaseHead):
    """Wraps any MMPose head and trains it on both lightings, with optional teachers.

    The wrapped head's own loss is taken for each labelled lighting with equal weight (paper,
    section 4). With the well-lit teacher and :class:`~exlpose_mm.losses.GramLoss` this is
    ExLPose's training; without a teacher it is the same network trained on both lightings.
    Prediction is the wrapped head's.

    The momentum teacher, which the paper has not, adds a target for the low-light output: see
    :class:`Distillation`.

    Args:
        head (dict): Config of the wrapped head.
        well_lit_teacher (dict, optional): Config of :class:`~exlpose_mm.teachers.WellLitTeacher`.
        momentum_teacher (dict, optional): Config of
            :class:`~exlpose_mm.teachers.MomentumTeacher`, which the estimator builds, and
            beside it as ``loss`` the arguments of :class:`Distillation`.
        adversary (dict, optional): Config of a loss on the last features of both lightings,
            e.g. :class:`~exlpose_mm.adversarial.DomainAdversarialLoss`.
        labelled (Sequence[str]): Lightings whose labels are used. Defaults to both.

    Loss keys: ``<lighting>.<key of the wrapped head>``, the teachers' own and
    ``loss_adversary``.

    Raises:
        ValueError: If ``labelled`` names an unknown lighting, or nothing teaches the output of
            a lighting that is not labelled; or as the teachers.
    """

    def __init__(self, head: ConfigType, well_lit_teacher: OptConfigType = None,
                 momentum_teacher: OptConfigType = None, adversary: OptConfigType = None,
                 labelled: Sequence[str] = LIGHTINGS) -> None:
        super().__init__()
        self.head = MODELS.build(head)
        self.labelled = [check_lighting(name) for name in labelled]
        self.well_lit_teacher = well_lit_teacher and WellLitTeacher(**well_lit_teacher)
        self.momentum_teacher_cfg = momentum_teacher and dict(momentum_teacher)
        self.distillation = None
        if momentum_teacher:
            self.distillation = Distillation(self.head, **self.momentum_teacher_cfg.pop('loss', {}))
        self.adversary = adversary and MODELS.build(adversary)
        if 'low_light' not in self.labelled and not momentum_teacher:
            raise ValueError(f'labelled={labelled} leaves low light without labels: it needs a momentum_teacher')

    @property
    def taps(self) -> List[str]:
        """Backbone layers that the teachers look at."""
        return self.well_lit_teacher.taps if self.well_lit_teacher else []

    @property
    def output_layers(self) -> List[str]:
        """Layers of the wrapped head that the momentum teacher compares."""
        return self.distillation.output.layers if self.distillation else []

    @property
    def decoder(self):
        """The wrapped head's codec."""
        return self.head.decoder

    def forward(self, feats):
        """The wrapped head's output."""
        return self.head(feats)

    def predict(self, feats, batch_data_samples: OptSampleList,
                test_cfg: OptConfigType = {}) -> Predictions:
        """The wrapped head's predictions."""
        return self.head.predict(feats, batch_data_samples, test_cfg=test_cfg)

    def loss(self, feats: Dict[str, Sequence[Tensor]], batch_data_samples: SampleList,
             train_cfg: OptConfigType = {}, taps: Dict[str, Dict[str, Tensor]] = {},
             momentum: Optional[List[Tensor]] = None) -> dict:
        """Losses of a batch of B pairs.

        Args:
            feats (dict): Lighting to the features that the wrapped head takes.
            batch_data_samples (list[PoseDataSample]): B samples, one a pair.
            train_cfg (dict): Passed on.
            taps (dict): Lighting to layer name to features, for the teachers.
            momentum (list[Tensor], optional): What the momentum teacher put out, if it teaches.
        """
        losses, outputs = {}, {}
        for name, x in feats.items():
            with tap(self.head, self.output_layers) as outputs[name]:
                own = self.head.loss(x, batch_data_samples, train_cfg=train_cfg)
            if name in self.labelled:
                losses.update({f'{name}.{key}': value for key, value in own.items()})
        if self.well_lit_teacher:
            losses.update(self.well_lit_teacher.loss(taps))
        if self.distillation:
            outputs = {name: [out[layer] for layer in self.output_layers] for name, out in outputs.items()}
            losses.update(self.distillation(outputs, momentum, batch_data_samples))
        if self.adversary:
            losses['loss_adversary'] = self.adversary(feats['low_light'][-1], feats['well_lit'][-1])
        return losses


class Distillation(nn.Module):
    """Distance of the low-light output to the target that the two teachers agree upon.

    The well-lit teacher is the network's own output on the partner, the momentum teacher the
    moving average's on the same dark image; :func:`~exlpose_mm.teachers.merge_teachers` says
    whom each joint follows. Labels are not looked at, so that joints without one are taught too.

    Args:
        head (nn.Module): The wrapped head.
        loss_weight (float): Defaults to 1.
        min_confidence (tuple[float]): Of the well-lit and of the momentum teacher, in units
            of :func:`~exlpose_mm.distillation.output_of`'s confidence. More than 1 silences one.
        sigmas (Sequence[float]): Of the joints, for their agreement. Defaults to ExLPose's.

    Raises:
        ValueError: If there is no rule to distil this head's output.
    """

    def __init__(self, head: nn.Module, loss_weight: float = 1., min_confidence: Tuple[float, float] = (0.3, 0.3),
                 sigmas: Sequence[float] = METAINFO['sigmas']) -> None:
        super().__init__()
        self.output = output_of(head)
        self.loss_weight = loss_weight
        self.min_confidence = tuple(min_confidence)
        self.register_buffer('sigmas', torch.tensor(sigmas), persistent=False)

    def forward(self, outputs: Dict[str, List[Tensor]], momentum: Optional[List[Tensor]],
                samples: SampleList) -> dict:
        """The loss, and the fraction of joints that each teacher supplied.

        Args:
            outputs (dict): Lighting to the head's output.
            momentum (list[Tensor], optional): The momentum teacher's; None during its burn-in,
                in which the loss is 0.
            samples (list[PoseDataSample]): B samples with ``gt_instances`` of ``bboxes`` and
                ``bbox_scales``.

        Returns:
            dict: ``loss_distill``, ``taught_by_well_lit``, ``taught_by_momentum``.
        """
        student = outputs['low_light']
        if momentum is None:
            # With a graph: distributed training waits for the gradient of every parameter.
            silent = 0 * sum(tensor.float().mean() for tensor in student)
            return dict(loss_distill=silent, taught_by_well_lit=silent.detach(), taught_by_momentum=silent.detach())
        well_lit = [tensor.detach() for tensor in outputs['well_lit']]
        first, second = self.output.verdict(well_lit), self.output.verdict(momentum)
        boxes, crops = _sizes(samples, self.sigmas)
        agreement = similarity(first.position, second.position, boxes, crops, self.sigmas)
        has_partner = torch.ones(len(student[0]), dtype=torch.bool, device=agreement.device)
        merged = merge_teachers(first, second, has_partner, agreement, self.min_confidence)
        target = choose(well_lit, momentum, merged.from_well_lit)
        distances = self.output.distances(student, target)
        return dict(loss_distill=self.loss_weight * (merged.weight * distances).mean(), **merged.shares())


def _sizes(samples: SampleList, like: Tensor) -> Tuple[Tensor, Tensor]:
    """Width and height of people's boxes and of their crops, each (B, 2), in pixels of the image."""
    people = [sample.gt_instances for sample in samples]
    boxes = torch.stack([like.new_tensor(p.bboxes[0, 2:] - p.bboxes[0, :2]) for p in people])
    return boxes, torch.stack([like.new_tensor(p.bbox_scales[0]) for p in people])
