"""What a well-lit image teaches, style or features; and a heatmap loss that learns in few epochs."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def without_autocast(device_type: str) -> AbstractContextManager:
    """A block without autocast, on devices that have none too, as ``mps`` in older versions of torch."""
    try:
        return torch.autocast(device_type, enabled=False)
    except RuntimeError:
        return nullcontext()


class StyleDistance(torch.autograd.Function):
    r"""Squared difference of Gram matrices per position: the mean over their cells and the batch.

    Legend: B: batch, C: channels, N: positions; A: student, W: teacher, P = A - W, Q = A + W. The value is
    :math:`|A A^T - W W^T|^2 / (C N)^2`. Two ways to the same number:

    * :math:`A A^T - W W^T = (P Q^T + Q P^T) / 2`: one product of C x C, and one more for the gradient.
    * Where there are far fewer positions than channels,
      :math:`|A A^T - W W^T|^2 = (\langle P^T P, Q^T Q \rangle + \langle P^T Q, (P^T Q)^T \rangle) / 2`: three
      products of N x N, and two more for the gradient. The two terms nearly cancel where features differ but their
      styles do not. The gradient does not suffer; for the value a CPU computes them in float64. A GPU is slow in that
      and takes float32: its value errs by up to 1e-6 of :math:`|P Q^T|^2 / (C N)^2`.

    The gradient is :math:`4 (A A^T - W W^T) A / (B (C N)^2)`, by the same products.

    Takes two (B, C, N) of the same floating type; the second gets no gradient. The value grows with
    the fourth power of the features: in float32 it and its gradient are finite for features up to
    1e8, and may be infinite or not a number beyond; a difference of features below 1e-8 may vanish.
    """

    FEWER = 4
    """How many times fewer positions than channels."""

    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        channels, positions = student.shape[1:]
        ctx.cells = channels * positions
        ctx.by_positions = StyleDistance.FEWER * positions <= channels
        forward = StyleDistance._by_positions if ctx.by_positions else StyleDistance._by_channels
        return forward(ctx, student, teacher) / len(student)

    # In both, what is multiplied once more is divided first: products of sums may leave the range of float32.

    @staticmethod
    def _by_channels(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        product = (student - teacher) @ (student + teacher).mT
        difference = (product + product.mT) / (2 * ctx.cells)
        ctx.save_for_backward(student, difference)
        return difference.square().sum()

    @staticmethod
    def _by_positions(ctx: Any, student: Tensor, teacher: Tensor) -> Tensor:
        p, q = student - teacher, student + teacher
        wide_p, wide_q = (x.double() if x.device.type == 'cpu' else x for x in (p, q))
        pp, pq, qq = (x.mT @ y / ctx.cells for x, y in ((wide_p, wide_p), (wide_p, wide_q), (wide_q, wide_q)))
        ctx.save_for_backward(p, q, (pp + pq).to(p), (pq.mT + qq).to(p))
        return (((pp * qq).sum() + (pq * pq.mT).sum()).clamp(min=0) / 2).to(p)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        scale = 4 * upstream / (len(ctx.saved_tensors[0]) * ctx.cells)
        if not ctx.by_positions:
            student, difference = ctx.saved_tensors
            return (scale * difference) @ student, None
        p, q, pa, qa = ctx.saved_tensors  # the last two are twice the products of P, and of Q, with A
        scale = scale / 4
        return torch.baddbmm(p @ (scale * qa), q, scale * pa), None


class TapLoss(nn.Module):
    """Distance between what two lightings left in L tapped layers; a subclass says of one layer.

    The well-lit side is the teacher and gets no gradient. Computed in float32.

    Args:
        loss_weight (float): Of the mean over the layers.

    Attributes:
        name (str): The loss is logged as ``loss_<name>``, and ``<name>.<layer>`` is each layer's.
    """

    name: str

    def __init__(self, loss_weight: float) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, low_light: Sequence[Tensor], well_lit: Sequence[Tensor]) -> list[Tensor]:
        """Compare L layers.

        Args:
            low_light (Sequence[Tensor]): L student features (B, C, H, W), or tokens (B, N, C) for features alone.
            well_lit (Sequence[Tensor]): L teacher features of the same shapes.

        Returns:
            list[Tensor]: L scalars whose sum is the loss (mmengine adds up lists).

        Raises:
            ValueError: If the numbers of layers or a layer's shapes differ.
        """
        if len(low_light) != len(well_lit):
            raise ValueError(f'{len(low_light)} low-light layers against {len(well_lit)} well-lit ones')
        scale = self.loss_weight / max(len(low_light), 1)
        return [scale * self._compare(low, well) for low, well in zip(low_light, well_lit)]

    def _compare(self, low: Tensor, well: Tensor) -> Tensor:
        if low.shape != well.shape:
            raise ValueError(f'features differ in shape: low light {tuple(low.shape)}, well lit {tuple(well.shape)}')
        with without_autocast(low.device.type):
            # float32: conv1's Gram matrix exceeds the range of float16.
            return self.distance(low.float(), well.detach().float())

    def distance(self, low: Tensor, well: Tensor) -> Tensor:
        """A scalar of two (B, C, H, W) in float32, before weights."""
        raise NotImplementedError


@MODELS.register_module()
class GramLoss(TapLoss):
    r"""Distance between the neural styles of two lightings (LUPI, paper section 4).

    For L layers with features F of shape (B, C, H, W) and G = F F^T per sample:

    .. math:: \frac{w}{L} \sum_l \frac{1}{B} \sum_b
              \frac{\mathrm{mean}_{C \times C} (G^{wl}_{lb} - G^{ll}_{lb})^2}{(H_l W_l)^2}

    The well-lit side is the teacher and gets no gradient. Computed in float32, finite for
    features between -1e8 and 1e8; see :class:`StyleDistance`.

    Deviation from the official code: that *sums* over the samples of the batch, so its
    weight grows with the batch size. This loss takes the *mean*. The official weight is
    1e-4 on (batch sum, mean over five layers) / 4, so the same value here is
    ``1e-4 * B / 4``: 8e-4 at the paper's batch of 32 pairs.

    Args:
        loss_weight (float): w. Defaults to 8e-4.
    """

    name = 'gram'

    def __init__(self, loss_weight: float = 8e-4) -> None:
        super().__init__(loss_weight)

    def distance(self, low: Tensor, well: Tensor) -> Tensor:
        """As in the formula, of one layer."""
        return StyleDistance.apply(low.flatten(2), well.flatten(2))


@MODELS.register_module()
class FeatureLoss(TapLoss):
    r"""Distance between the features of two lightings, position by position.

    The paper's style says which channels respond together, not where. A pair shows one scene to the pixel, and so the
    well-lit image also says what a dark one should evoke at each position: with features F of L layers,

    .. math:: \frac{w}{L} \sum_l \frac{\mathrm{mean} (F^{wl}_l - F^{ll}_l)^2}{\mathrm{mean} (F^{wl}_l)^2}

    over batch, channels and positions, or tokens. 1 is what features of zeros have, at any layer of any network: the
    shared weights cannot lower it by growing or shrinking, and late layers are compared as well as early ones. Not of
    the paper. ``docs/results.md`` says what it gains and at which weight.

    Args:
        loss_weight (float): w. Defaults to 1.
    """

    name = 'feature'

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)

    def distance(self, low: Tensor, well: Tensor) -> Tensor:
        """As in the formula, of one layer."""
        power = well.square().mean().clamp(min=torch.finfo(well.dtype).tiny)
        return (low - well).square().mean() / power


@MODELS.register_module()
class HeatmapCrossEntropyLoss(nn.Module):
    """Cross-entropy over the positions of a heatmap of logits.

    For small budgets: the mean squared error of a heatmap is nearly met by predicting
    zeros, which a short training does not leave. Goes with
    :class:`~exlpose_mm.codecs.SoftmaxHeatmap` in any MMPose heatmap head.

    Args:
        loss_weight (float): Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, target_weights: Tensor) -> Tensor:
        """Mean over the labelled joints.

        Args:
            output (Tensor): Logits (B, K, H, W).
            target (Tensor): Heatmaps (B, K, H, W) >= 0; normalised to a sum of 1 here.
            target_weights (Tensor): (B, K), 0 for a joint without a label.
        """
        target = target.flatten(2)
        target = target / target.sum(-1, keepdim=True).clamp(min=1e-6)
        nll = -(target * output.float().flatten(2).log_softmax(-1)).sum(-1)
        return self.loss_weight * (nll * target_weights).sum() / target_weights.sum().clamp(min=1)
