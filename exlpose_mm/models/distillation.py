"""Distilling what heads put out: heatmaps by their difference, coordinate classes by their divergence.

Legend: B: people in a batch, K: joints. A head's output is a list of tensors (B, K, ...): maps
(B, K, H, W), or classes of x (B, K, W) and of y (B, K, H).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from mmpose.models.heads import HeatmapHead, RTMCCHead, SimCCHead
from mmpose.utils.typing import SampleList
from torch import Tensor, nn

from exlpose_mm.joints import METAINFO
from exlpose_mm.lighting import LIGHTINGS
from exlpose_mm.models.losses import HeatmapCrossEntropyLoss
from exlpose_mm.models.pseudo_labels import PseudoLabels, fuse_pseudo_labels, similarity
from exlpose_mm.models.transfer import to_device
from exlpose_mm.views import BatchViews


class DistilledOutput(Protocol):
    """What a head puts out, as a momentum teacher reads and compares it.

    Attributes:
        layers (list[str]): Of the head, whose outputs it is.
    """

    layers: list[str]

    def pseudo_labels(self, output: Sequence[Tensor]) -> PseudoLabels:
        """Read positions and confidences."""

    def distances(self, student: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """(B, K), >= 0, differentiable in the student only."""


class HeatmapOutput:
    """Maps whose value is the target's: distilled by their mean squared difference.

    The confidence is the maximum as a share of a perfect map's.

    Args:
        layer (str): The head's layer whose output they are.
        peak (float): Maximum of a perfect map.
    """

    def __init__(self, layer: str, peak: float = 1.0) -> None:
        self.layers, self.peak = [layer], peak

    def pseudo_labels(self, output: Sequence[Tensor]) -> PseudoLabels:
        """Read positions and confidences."""
        position, height = _maximum(output[0])
        return PseudoLabels(position, height / self.peak)

    def distances(self, student: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """(B, K), >= 0, differentiable in the student only."""
        return (student[0].float() - target[0].detach().float()).square().mean(dim=(2, 3))


class LogitOutput:
    """Logits over cells or classes: distilled by the cross-entropy of their distributions.

    Less the teacher's own entropy this is their Kullback-Leibler divergence, so that equal outputs
    are at distance 0. The confidence is the probability of the likeliest cell, in units of that
    of a Gaussian target with 1.5 cells standard deviation, at most 1; of x and y the lesser.

    Args:
        layers (Sequence[str]): The head's layers whose outputs they are: one of maps, or
            two of classes of x and y.
        beta (float): Factor of the logits, as in the head's own loss.
    """

    SIGMA = 1.5

    def __init__(self, layers: Sequence[str], beta: float = 1.0) -> None:
        self.layers, self.beta = list(layers), beta

    def pseudo_labels(self, output: Sequence[Tensor]) -> PseudoLabels:
        """Read positions and confidences."""
        distributions = [self._log(logits).exp() for logits in output]
        if len(output) == 1:
            position, height = _maximum(distributions[0])
            return PseudoLabels(position, (height * (2 * torch.pi * self.SIGMA**2)).clamp(max=1))
        heights, cells = zip(*(d.max(dim=-1) for d in distributions))
        shares = [(cell + 0.5) / d.shape[-1] for cell, d in zip(cells, distributions)]
        height = torch.minimum(*heights) * ((2 * torch.pi) ** 0.5 * self.SIGMA)
        return PseudoLabels(torch.stack(shares, dim=-1), height.clamp(max=1))

    def distances(self, student: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """(B, K), >= 0, differentiable in the student only; the mean over the outputs."""
        return torch.stack([self._divergence(s, t) for s, t in zip(student, target)]).mean(dim=0)

    def _divergence(self, student: Tensor, target: Tensor) -> Tensor:
        wanted = self._log(target.detach())
        difference = wanted.exp() * (wanted - self._log(student))
        return difference.flatten(2).sum(dim=-1)

    def _log(self, logits: Tensor) -> Tensor:
        return (self.beta * logits.float()).flatten(2).log_softmax(dim=-1).view_as(logits)


def output_of(head: nn.Module) -> DistilledOutput:
    """How the output of a head is distilled.

    A head of another kind may bring its own as its attribute ``distilled_output``.

    Raises:
        ValueError: If there is no rule for this kind of head.
    """
    own = getattr(head, 'distilled_output', None)
    if own is not None:
        return own
    if isinstance(head, (RTMCCHead, SimCCHead)):
        layers = ['cls_x', 'cls_y'] if isinstance(head, RTMCCHead) else ['mlp_head_x', 'mlp_head_y']
        return LogitOutput(layers, getattr(head.loss_module, 'beta', 1.0))
    if isinstance(head, HeatmapHead):
        if isinstance(head.loss_module, HeatmapCrossEntropyLoss):
            return LogitOutput(['final_layer'])
        return HeatmapOutput('final_layer')
    raise ValueError(
        f'there is no rule to distil the output of {type(head).__name__}: a momentum teacher needs '
        'a HeatmapHead, CPNHead, RTMCCHead or SimCCHead, or a head with distilled_output'
    )


def choose(first: Sequence[Tensor], second: Sequence[Tensor], use_first: Tensor) -> list[Tensor]:
    """Outputs of two teachers as one: the first's at joints where ``use_first`` (B, K) is true."""
    return [torch.where(use_first.view(*use_first.shape, *[1] * (a.dim() - 2)), a, b) for a, b in zip(first, second)]


def _maximum(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Positions (B, K, 2), as shares of the size, and heights (B, K) of the maxima of (B, K, H, W)."""
    height, cell = maps.flatten(2).max(dim=-1)
    rows, columns = maps.shape[2:]
    x, y = (cell % columns + 0.5) / columns, (cell // columns + 0.5) / rows
    return torch.stack([x, y], dim=-1), height


class Distillation(nn.Module):
    """Distance of the low-light output to the target that the two teachers agree upon.

    The well-lit teacher is the network's own output on the partner, the momentum teacher the
    moving average's on the same dark image; :func:`~exlpose_mm.models.pseudo_labels.fuse_pseudo_labels` says
    whom each joint follows. Labels are not looked at, so that joints without one are taught too.

    Args:
        head (nn.Module): The wrapped head.
        loss_weight (float): Defaults to 1.
        min_confidence (tuple[float]): Of the well-lit and of the momentum teacher, in units
            of :func:`output_of`'s confidence. More than 1 silences one.
        unlabelled_only (bool): Teach only people whose low-light image has no labels, as in
            semi-supervised training. Defaults to False: everybody.
        sigmas (Sequence[float]): Of the joints, for their agreement. Defaults to ExLPose's.

    Raises:
        ValueError: If there is no rule to distil this head's output, or it has another number of joints than
            there are sigmas.
    """

    sigmas: Tensor

    def __init__(
        self,
        head: nn.Module,
        loss_weight: float = 1.0,
        min_confidence: tuple[float, float] = (0.3, 0.3),
        unlabelled_only: bool = False,
        sigmas: Sequence[float] = METAINFO['sigmas'],
    ) -> None:
        super().__init__()
        self.output = output_of(head)
        self.loss_weight = loss_weight
        of_well_lit, of_momentum = min_confidence
        self.min_confidence = of_well_lit, of_momentum
        self.unlabelled_only = unlabelled_only
        self.register_buffer('sigmas', torch.as_tensor(sigmas, dtype=torch.float32), persistent=False)
        self._check_joints(getattr(head, 'out_channels', len(sigmas)))

    def forward(
        self, outputs: dict[str, list[Tensor]], momentum: list[Tensor] | None, samples: SampleList, views: BatchViews
    ) -> dict:
        """The loss, and the fraction of joints that each teacher supplied.

        Args:
            outputs (dict): Lighting to the head's output.
            momentum (list[Tensor], optional): The momentum teacher's; None during its burn-in,
                in which the well-lit teacher speaks alone.
            samples (list[PoseDataSample]): The whole batch, with ``gt_instances`` of ``bboxes`` and
                ``bbox_scales``. B of them have a low-light image.
            views (BatchViews): Theirs.

        Returns:
            dict: ``loss_distill``, ``taught_by_well_lit``, ``taught_by_momentum``.

        Raises:
            ValueError: If the output has another number of joints than there are sigmas.
        """
        student = outputs['low_light']
        self._check_joints(student[0].shape[1])
        boxes, crops, has_partner, taught = self._facts(samples, views)
        burning_in = momentum is None
        momentum = [tensor.detach() for tensor in student] if momentum is None else momentum
        well_lit = partners_output(momentum, outputs.get('well_lit', []), views)
        first, second = map(self.output.pseudo_labels, (well_lit, momentum))
        if burning_in:
            second = replace(second, confidence=torch.full_like(second.confidence, -torch.inf))
        agreement = similarity(first.position, second.position, boxes, crops, self.sigmas)
        fused = fuse_pseudo_labels(first, second, has_partner, agreement, self.min_confidence).among(taught)
        distances = self.output.distances(student, choose(well_lit, momentum, fused.from_well_lit))
        mean = (fused.weight * distances).sum() / (taught.sum() * distances.shape[1]).clamp(min=1)
        return dict(loss_distill=self.loss_weight * mean, **fused.shares())

    def _check_joints(self, joints: int) -> None:
        if joints != len(self.sigmas):
            raise ValueError(
                f'the head has {joints} joints, but the momentum teacher {len(self.sigmas)} sigmas (by default '
                "ExLPose's): give it the data set's, momentum_teacher=dict(loss=dict(sigmas=[...]))"
            )

    def _facts(self, samples: SampleList, views: BatchViews) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Width and height of people's boxes and of their crops, each (B, 2), in pixels of the image; and (B, ) bool
        each, who has a partner and who is taught at all."""
        rows, labelled = views.rows['low_light'], views.labelled['low_light']
        facts = np.zeros((len(rows), 6), np.float32)
        for row, i, has_labels in zip(facts, rows, labelled):
            people = samples[i].gt_instances
            row[:2], row[2:4] = people.bboxes[0, 2:] - people.bboxes[0, :2], people.bbox_scales[0]
            row[5] = not (self.unlabelled_only and has_labels)
        facts[views.pairs['low_light'], 4] = 1
        boxes, crops, partner, taught = to_device(facts, self.sigmas).split([2, 2, 1, 1], dim=1)
        return boxes, crops, partner[:, 0] > 0, taught[:, 0] > 0


def partners_output(otherwise: Sequence[Tensor], well_lit: Sequence[Tensor], views: BatchViews) -> list[Tensor]:
    """The output on each low-light image's partner, and another where it has none."""
    joint = [tensor.detach().clone() for tensor in otherwise]
    low, well = to_device([views.pairs[name] for name in LIGHTINGS], joint[0], torch.long)
    for mine, theirs in zip(joint, well_lit):
        mine.index_copy_(0, low, theirs.detach().index_select(0, well).to(mine))
    return joint
