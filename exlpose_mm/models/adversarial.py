"""Domain-adversarial training (DANN; Ganin et al., JMLR 2016) between the two lightings."""

from typing import Any

import torch
import torch.nn.functional as F
from mmpose.registry import MODELS
from torch import Tensor, nn


class GradientReversal(torch.autograd.Function):
    """Identity whose gradient is multiplied by ``-coefficient``.

    Use it as ``GradientReversal.apply(x, coefficient)``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficient: float) -> Tensor:
        ctx.coefficient = coefficient
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return -ctx.coefficient * grad, None


@MODELS.register_module()
class DomainAdversarialLoss(nn.Module):
    """How well a small discriminator tells the lightings of globally pooled features apart.

    The discriminator descends its binary cross-entropy while the network before it ascends:
    the gradient is reversed between the two. Deviation from DANN: the reversal has a constant
    coefficient instead of one that grows in the course of the training.

    Args:
        in_channels (int): Channels C of the features.
        hidden_channels (int): Width of the discriminator's hidden layer. Defaults to 256.
        reversal (float): Coefficient of the reversed gradient. Defaults to 1.
        loss_weight (float): Weight for both sides. Defaults to 1.

    Raises:
        ValueError: If ``reversal`` is not positive: the network would help the discriminator.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int = 256, reversal: float = 1.0, loss_weight: float = 1.0
    ) -> None:
        super().__init__()
        if reversal <= 0:
            raise ValueError(f'reversal must be positive, got {reversal}')
        self.reversal = reversal
        self.loss_weight = loss_weight
        self.discriminator = nn.Sequential(
            nn.Linear(in_channels, hidden_channels), nn.ReLU(inplace=True), nn.Linear(hidden_channels, 1)
        )

    def forward(self, low_light: Tensor, well_lit: Tensor) -> Tensor:
        """Binary cross-entropy, the mean over both batches; well lit is the positive class.

        Args:
            low_light (Tensor): (B, C, H, W).
            well_lit (Tensor): (B', C, H, W). B or B' may be 0.

        Returns:
            Tensor: A scalar.
        """
        pooled = torch.cat([low_light, well_lit]).float().mean(dim=(2, 3))
        logits = self.discriminator(GradientReversal.apply(pooled, self.reversal)).squeeze(1)
        labels = torch.cat([logits.new_zeros(len(low_light)), logits.new_ones(len(well_lit))])
        return self.loss_weight * F.binary_cross_entropy_with_logits(logits, labels)
