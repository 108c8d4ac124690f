"""Targets drawn where the network runs, from joints that travelled in their place."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from exlpose_mm.codecs import PEAK, CPNHeatmap, blurred_impulses


class CPNTargets(nn.Module):
    """The maps of a :class:`~exlpose_mm.CPNHeatmap` with ``draw=False``.

    Args:
        codec (CPNHeatmap): Its sizes and kernels.
    """

    def __init__(self, codec: CPNHeatmap) -> None:
        super().__init__()
        self.kernel_sizes = (*codec.kernel_sizes, codec.refine_kernel_size)
        for size in set(self.kernel_sizes):
            for axis, length in zip('xy', codec.heatmap_size):
                impulses = torch.from_numpy(blurred_impulses(length, size).copy())
                self.register_buffer(f'{axis}{size}', impulses, persistent=False)

    def forward(self, joints: Sequence[Tensor]) -> list[Tensor]:
        """Draw L global levels, coarse to fine, and the refined one.

        Args:
            joints (sequence[Tensor]): ``keypoint_cells`` (1, K, 4) of each of B people: the cell's x and y, whether
                the joint is visible, and whether it is labelled; the last two 0 or 1.

        Returns:
            list[Tensor]: L + 1 float32 maps (B, K, H, W).
        """
        x, y, visible, labelled = torch.cat([*joints]).unbind(dim=-1)
        *levels, last = self.kernel_sizes
        maps = [self._draw(x, y, visible, size) for size in levels]
        return [*maps, self._draw(x, y, labelled, last)]

    def _draw(self, x: Tensor, y: Tensor, drawn: Tensor, size: int) -> Tensor:
        columns, rows = (
            getattr(self, f'{axis}{size}').index_select(0, cells.flatten()) for axis, cells in (('x', x), ('y', y))
        )
        blurred = rows[:, :, None] * columns[:, None, :]
        scale = drawn.flatten() * (PEAK / (rows.amax(dim=1) * columns.amax(dim=1)))
        return (blurred * scale[:, None, None]).view(*x.shape, *blurred.shape[1:])
