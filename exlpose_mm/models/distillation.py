"""Distilling what heads put out: heatmaps by their difference, coordinate classes by their divergence.

Legend: B: people in a batch, K: joints. A head's output is a list of tensors (B, K, ...): maps
(B, K, H, W), or classes of x (B, K, W) and of y (B, K, H).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmpose.models.heads import HeatmapHead, RTMCCHead, SimCCHead
from torch import Tensor, nn

from exlpose_mm.models.losses import HeatmapCrossEntropyLoss


@dataclass(frozen=True)
class Verdict:
    """What an output says of each joint.

    Args:
        position (Tensor): (B, K, 2): x and y of its maximum, as shares of the input's size.
        confidence (Tensor): (B, K): its height.
    """

    position: Tensor
    confidence: Tensor


class HeatmapOutput:
    """Maps whose value is the target's: distilled by their mean squared difference.

    The confidence is the maximum as a share of a perfect map's.

    Args:
        layer (str): The head's layer whose output they are.
        peak (float): Maximum of a perfect map.
    """

    def __init__(self, layer: str, peak: float = 1.0) -> None:
        self.layers, self.peak = [layer], peak

    def verdict(self, output: Sequence[Tensor]) -> Verdict:
        """Read positions and confidences."""
        position, height = _maximum(output[0])
        return Verdict(position, height / self.peak)

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

    def verdict(self, output: Sequence[Tensor]) -> Verdict:
        """Read positions and confidences."""
        distributions = [self._log(logits).exp() for logits in output]
        if len(output) == 1:
            position, height = _maximum(distributions[0])
            return Verdict(position, (height * (2 * torch.pi * self.SIGMA**2)).clamp(max=1))
        heights, cells = zip(*(d.max(dim=-1) for d in distributions))
        shares = [(cell + 0.5) / d.shape[-1] for cell, d in zip(cells, distributions)]
        height = torch.minimum(*heights) * ((2 * torch.pi) ** 0.5 * self.SIGMA)
        return Verdict(torch.stack(shares, dim=-1), height.clamp(max=1))

    def distances(self, student: Sequence[Tensor], target: Sequence[Tensor]) -> Tensor:
        """(B, K), >= 0, differentiable in the student only; the mean over the outputs."""
        return torch.stack([self._divergence(s, t) for s, t in zip(student, target)]).mean(dim=0)

    def _divergence(self, student: Tensor, target: Tensor) -> Tensor:
        wanted = self._log(target.detach())
        difference = wanted.exp() * (wanted - self._log(student))
        return difference.flatten(2).sum(dim=-1)

    def _log(self, logits: Tensor) -> Tensor:
        return (self.beta * logits.float()).flatten(2).log_softmax(dim=-1).view_as(logits)


def output_of(head: nn.Module):
    """How the output of a head is distilled: an object like :class:`HeatmapOutput`.

    A head of another kind may bring its own as its attribute ``distilled_output``.

    Raises:
        ValueError: If there is no rule for this kind of head.
    """
    if hasattr(head, 'distilled_output'):
        return head.distilled_output
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


def similarity(first: Tensor, second: Tensor, boxes: Tensor, crops: Tensor, sigmas: Tensor) -> Tensor:
    """Object keypoint similarity (B, K) of two positions, by COCO's formula with 0.53 w h as area.

    Args:
        first, second (Tensor): (B, K, 2), shares of the crop's size.
        boxes (Tensor): (B, 2): width and height of the people in pixels of the image.
        crops (Tensor): (B, 2): width and height of the crops in pixels of the image.
        sigmas (Tensor): (K, ), the data set's.
    """
    squares = ((first - second) * crops[:, None]).square().sum(dim=-1)
    area = 0.53 * boxes.prod(dim=-1, keepdim=True)
    return torch.exp(-squares / (2 * area * (2 * sigmas) ** 2))


def _maximum(maps: Tensor):
    """Positions (B, K, 2), as shares of the size, and heights (B, K) of the maxima of (B, K, H, W)."""
    height, cell = maps.flatten(2).max(dim=-1)
    rows, columns = maps.shape[2:]
    x, y = (cell % columns + 0.5) / columns, (cell // columns + 0.5) / rows
    return torch.stack([x, y], dim=-1), height
