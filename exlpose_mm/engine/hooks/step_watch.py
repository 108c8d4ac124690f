"""Whether an optimiser did step."""

from typing import Any

import torch
from mmengine.optim import OptimWrapper


class StepWatch:
    """Whether an optimiser did step, which it does not while gradients accumulate or if a step is left out.

    Args:
        wrapper (OptimWrapper): Of an optimiser of torch.

    Raises:
        TypeError: If it is of another, or of several.
    """

    def __init__(self, wrapper: OptimWrapper) -> None:
        optimizer = getattr(wrapper, 'optimizer', None)
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f'FiniteLossHook and MomentumTeacherHook follow one optimiser of torch, but that of '
                f'{type(wrapper).__name__} is {optimizer!r}: use an OptimWrapper or AmpOptimWrapper, or '
                'leave the hooks out'
            )
        self._overflows: list[torch.Tensor | None] = []
        self._handle = optimizer.register_step_post_hook(self._note)

    def _note(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        # A fused optimiser steps in vain if it is told so, on the device.
        self._overflows.append(getattr(optimizer, 'found_inf', None))

    def happened(self) -> bool:
        """Since this was last asked."""
        overflows, self._overflows = self._overflows, []
        return any(overflow is None or not overflow for overflow in overflows)

    def remove(self) -> None:
        """Watch no longer."""
        self._handle.remove()
