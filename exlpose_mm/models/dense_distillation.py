"""Distilling what bottom-up and single-stage heads put out: cells of maps, each of which may speak of another person.

Legend: B: images in a batch, K: joints, C: channels of a map (H, W). What two teachers say is compared cell by cell,
where at least one of them is confident. What no teacher is sure of is not taught, so that the background of an
image without labels is nobody's.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from mmpose.models.heads import AssociativeEmbeddingHead, DEKRHead, RTMOHead
from mmpose.utils.typing import SampleList
from torch import Tensor, nn

from exlpose_mm.models.distillation import Distillation, partners_output
from exlpose_mm.models.pseudo_labels import FusedPseudoLabels, PseudoLabels, fuse_pseudo_labels
from exlpose_mm.models.transfer import to_device
from exlpose_mm.views import BatchViews


class DenseOutput(Protocol):
    """What a bottom-up head puts out, in parts, as a momentum teacher reads and compares it.

    Attributes:
        layers (list[str]): Of the head, whose outputs it is.
        maps (int): So many of its parts, the first, are maps, whose loss is the mean over all their cells, as it is in
            the heads' own losses; that of the other parts is the mean over the cells that are taught.
    """

    layers: list[str]
    maps: int

    def confidences(self, output: Sequence[Tensor]) -> list[Tensor]:
        """Of each part, (B, C, H, W) or (B, 1, H, W), 0 to 1."""

    def distances(self, student: Sequence[Tensor], target: Sequence[Tensor]) -> list[Tensor]:
        """Of each part, as its confidences in shape, >= 0, differentiable in the student only."""


class DEKROutput:
    """A :class:`~mmpose.models.DEKRHead`'s maps of joints and centres, and displacements where a centre is.

    Displacements weigh by the diagonal of the teacher's pose, as in the head's own targets.

    Args:
        head (DEKRHead): Its losses' weights are taken.
    """

    layers = ['heatmap_conv_layers', 'displacement_conv_layers']
    maps = 1

    def __init__(self, head: DEKRHead) -> None:
        self.weights = [head.loss_module[name].loss_weight for name in ('heatmap', 'displacement')]

    def confidences(self, output: Sequence[Tensor]) -> list[Tensor]:
        heatmaps = output[0].float().clamp(0, 1)
        return [heatmaps, heatmaps[:, -1:]]

    def distances(self, student: Sequence[Tensor], target: Sequence[Tensor]) -> list[Tensor]:
        heatmaps, displacements = (tensor.detach().float() for tensor in target)
        poses = displacements.unflatten(1, (-1, 2))
        diagonals = (poses.amax(dim=1) - poses.amin(dim=1)).norm(dim=1, keepdim=True).clamp(min=1)
        offsets = F.smooth_l1_loss(student[1].float(), displacements, reduction='none', beta=1 / 9)
        of_maps, of_offsets = self.weights
        return [
            of_maps * (student[0].float() - heatmaps).square(),
            of_offsets * offsets.mean(dim=1, keepdim=True) / diagonals,
        ]


class AssociativeEmbeddingOutput:
    """An :class:`~mmpose.models.AssociativeEmbeddingHead`'s maps of joints.

    Its tags tell people of one image apart, and only among the tags of the same pass: those of two teachers do not
    mix. Labels teach them.

    Args:
        head (AssociativeEmbeddingHead): Its joints and its loss's weight are taken.
    """

    layers = ['final_layer']
    maps = 1

    def __init__(self, head: AssociativeEmbeddingHead) -> None:
        self.joints, self.weight = head.num_keypoints, head.loss_module.keypoint_loss.loss_weight

    def confidences(self, output: Sequence[Tensor]) -> list[Tensor]:
        return [output[0][:, : self.joints].float().clamp(0, 1)]

    def distances(self, student: Sequence[Tensor], target: Sequence[Tensor]) -> list[Tensor]:
        mine, theirs = student[0][:, : self.joints].float(), target[0][:, : self.joints].detach().float()
        return [self.weight * (mine - theirs).square()]


class RTMOOutput:
    """An :class:`~mmpose.models.RTMOHead`'s scores, boxes and pose vectors, of each level, where a person is.

    Args:
        head (RTMOHead): Its number of levels is taken.
    """

    maps = 0

    def __init__(self, head: RTMOHead) -> None:
        self.levels = len(head.featmap_strides)
        names = ('out_cls', 'out_bbox', 'out_pose')
        self.layers = [f'head_module.{name}.{level}' for level in range(self.levels) for name in names]

    def confidences(self, output: Sequence[Tensor]) -> list[Tensor]:
        scores = [output[3 * level].float().sigmoid() for level in range(self.levels)]
        return [score for score in scores for _ in range(3)]

    def distances(self, student: Sequence[Tensor], target: Sequence[Tensor]) -> list[Tensor]:
        pairs = [(mine.float(), theirs.detach().float()) for mine, theirs in zip(student, target)]
        return [
            F.binary_cross_entropy_with_logits(mine, theirs.sigmoid(), reduction='none')
            if i % 3 == 0
            else F.smooth_l1_loss(mine, theirs, reduction='none').mean(dim=1, keepdim=True)
            for i, (mine, theirs) in enumerate(pairs)
        ]


RULES: dict[type[nn.Module], Callable[[Any], DenseOutput]] = {
    DEKRHead: DEKROutput,
    AssociativeEmbeddingHead: AssociativeEmbeddingOutput,
    RTMOHead: RTMOOutput,
}


def dense_output_of(head: nn.Module) -> DenseOutput:
    """How the output of a bottom-up head is distilled.

    A head of another kind may bring its own as its attribute ``dense_output``.

    Raises:
        ValueError: If there is no rule for this kind of head.
    """
    own: DenseOutput | None = getattr(head, 'dense_output', None)
    if own is not None:
        return own
    for kind, rule in RULES.items():
        if isinstance(head, kind):
            return rule(head)
    raise ValueError(
        f'there is no rule to distil the output of {type(head).__name__}, of many people an image: a momentum teacher '
        f'needs a {", ".join(kind.__name__ for kind in RULES)}, or a head with dense_output'
    )


class DenseDistillation(nn.Module):
    """Distance of the low-light output to the target that the two teachers agree upon, in each cell of its maps.

    As :class:`~exlpose_mm.models.distillation.Distillation`, which is of one person in a crop: the well-lit teacher
    speaks where it is confident, else the momentum teacher where that is; where both are, the ratio of the lesser
    confidence to the greater is the weight.

    Args:
        head (nn.Module): The wrapped head.
        loss_weight (float): Defaults to 1.
        min_confidence (tuple[float]): Of the well-lit and of the momentum teacher, 0 to 1. More than 1 silences one.
        unlabelled_only (bool): Teach only images without labels. Defaults to False: all.

    Raises:
        ValueError: If there is no rule to distil this head's output.
    """

    def __init__(
        self,
        head: nn.Module,
        loss_weight: float = 1.0,
        min_confidence: tuple[float, float] = (0.3, 0.3),
        unlabelled_only: bool = False,
    ) -> None:
        super().__init__()
        self.output = dense_output_of(head)
        self.loss_weight = loss_weight
        of_well_lit, of_momentum = min_confidence
        self.min_confidence = of_well_lit, of_momentum
        self.unlabelled_only = unlabelled_only

    def forward(
        self, outputs: dict[str, list[Tensor]], momentum: list[Tensor] | None, samples: SampleList, views: BatchViews
    ) -> dict:
        """The loss, and the fraction of cells that each teacher supplied.

        Args:
            outputs (dict): Lighting to the head's output.
            momentum (list[Tensor], optional): The momentum teacher's; None during its burn-in,
                in which the well-lit teacher speaks alone.
            samples (list[PoseDataSample]): The whole batch; not looked at.
            views (BatchViews): Theirs.

        Returns:
            dict: ``loss_distill``, ``taught_by_well_lit``, ``taught_by_momentum``.
        """
        student = outputs['low_light']
        own = [tensor.detach() for tensor in student]
        well_lit = partners_output(momentum or own, outputs.get('well_lit', []), views)
        losses, shares = zip(*self._parts(student, well_lit, momentum or own, momentum is None, views))
        names = ('taught_by_well_lit', 'taught_by_momentum')
        means = {name: torch.stack([share[name] for share in shares]).mean() for name in names}
        return dict(loss_distill=self.loss_weight * torch.stack(losses).sum(), **means)

    def _parts(
        self, student: list[Tensor], well_lit: list[Tensor], momentum: list[Tensor], burning_in: bool, views: BatchViews
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        has_partner, taught = self._facts(student[0], views)
        output = self.output
        sure = [output.confidences(of) for of in (well_lit, momentum)]
        apart = [output.distances(student, of) for of in (well_lit, momentum)]
        for i, (first, second, to_first, to_second) in enumerate(zip(*sure, *apart)):
            fused = self._fuse(first, -torch.ones_like(second) if burning_in else second, has_partner).among(taught)
            distances = torch.where(fused.from_well_lit, to_first.flatten(1), to_second.flatten(1))
            cells = taught.sum() * distances.shape[1] if i < output.maps else (fused.weight > 0).sum()
            yield (fused.weight * distances).sum() / cells.clamp(min=1), fused.shares()

    def _fuse(self, well_lit: Tensor, momentum: Tensor, has_partner: Tensor) -> FusedPseudoLabels:
        """The rule of the two teachers, for cells in place of joints, whose place is given."""
        first, second = (PseudoLabels(x.new_empty(0), x.flatten(1)) for x in (well_lit, momentum))
        least, most = torch.minimum(well_lit, momentum), torch.maximum(well_lit, momentum)
        agreement = (least / most.clamp(min=1e-6)).clamp(0, 1).flatten(1)
        return fuse_pseudo_labels(first, second, has_partner, agreement, self.min_confidence)

    def _facts(self, like: Tensor, views: BatchViews) -> tuple[Tensor, Tensor]:
        """(B, ) bool each: which low-light images have a partner, and which are taught at all."""
        labelled = views.labelled['low_light']
        pairs = {*views.pairs['low_light']}
        partner = [i in pairs for i in range(len(labelled))]
        taught = [not (self.unlabelled_only and has_labels) for has_labels in labelled]
        return to_device(partner, like, torch.bool), to_device(taught, like, torch.bool)


def distillation_of(head: nn.Module, **kwargs: Any) -> Distillation | DenseDistillation:
    """The distillation for a head, of one person in a crop or of many in an image.

    Raises:
        ValueError: If there is no rule for this head.
    """
    dense = hasattr(head, 'dense_output') or isinstance(head, tuple(RULES))
    return (DenseDistillation if dense else Distillation)(head, **kwargs)
