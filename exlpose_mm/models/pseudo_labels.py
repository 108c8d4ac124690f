"""What two teachers say of each joint, and the rule that makes one target of it.

Legend: B: people in a batch, K: joints.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PseudoLabels:
    """What an output says of each joint.

    Args:
        position (Tensor): (B, K, 2): x and y of its maximum, as shares of the input's size.
        confidence (Tensor): (B, K): its height.
    """

    position: Tensor
    confidence: Tensor


@dataclass(frozen=True)
class FusedPseudoLabels:
    """Which teacher each joint follows, and how much.

    Args:
        from_well_lit, from_momentum (Tensor): (B, K) bool, at most one of them true.
        weight (Tensor): (B, K), 0 to 1; 0 where neither is true.
    """

    from_well_lit: Tensor
    from_momentum: Tensor
    weight: Tensor

    def among(self, taught: Tensor) -> 'FusedPseudoLabels':
        """The same for those people (B, ) bool that are taught at all; nobody teaches the others."""
        taught = taught[:, None]
        return FusedPseudoLabels(self.from_well_lit & taught, self.from_momentum & taught, self.weight * taught)

    def shares(self) -> dict:
        """Fractions of the joints that each teacher supplied, for the log."""
        return dict(
            taught_by_well_lit=self.from_well_lit.float().mean(), taught_by_momentum=self.from_momentum.float().mean()
        )


def fuse_pseudo_labels(
    well_lit: PseudoLabels,
    momentum: PseudoLabels,
    has_partner: Tensor,
    similarity: Tensor,
    min_confidence: tuple[float, float] = (0.3, 0.3),
) -> FusedPseudoLabels:
    """Choose one teacher for each joint.

    The well-lit teacher where its image exists and it is confident; else the momentum teacher
    where that is confident; else none. Where both are confident, their agreement is the
    weight: two that point at different places deserve less trust. One alone has weight 1.

    Args:
        well_lit, momentum (PseudoLabels): Of B x K joints.
        has_partner (Tensor): (B, ) bool: the sample has a well-lit image.
        similarity (Tensor): (B, K): object keypoint similarity of the two, 0 to 1.
        min_confidence (tuple[float]): Of the well-lit and of the momentum teacher, in units of
            their output's confidence.
    """
    sure = (well_lit.confidence >= min_confidence[0]) & has_partner[:, None]
    also = momentum.confidence >= min_confidence[1]
    weight = torch.where(sure & also, similarity, (sure | also).to(similarity))
    return FusedPseudoLabels(sure, also & ~sure, weight)


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
