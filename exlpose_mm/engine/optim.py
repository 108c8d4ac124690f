"""Optimisers: mixed precision on any device, and few groups of parameters."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmpose.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Trains in bfloat16 where autocast takes it, on the device that the model is on.

    bfloat16 has float32's range, so no loss is scaled. mmengine's ``AmpOptimWrapper``, which also does float16,
    refuses a CPU, where convolutions of channels-last images are about twice as fast in it.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class GroupedOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """As mmengine's, with one group for all parameters that have the same options.

    With ``paramwise_cfg`` mmengine makes a group for each parameter, and torch's optimisers, fused ones too, update
    group by group: hundreds of small launches a step where two do. The updates are the same.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        wrapper = super().__call__(model)
        merged: list[dict] = []
        for group in wrapper.optimizer.param_groups:
            alike = next((other for other in merged if _options(other) == _options(group)), None)
            if alike is None:
                merged.append(dict(group))
            else:
                alike['params'] = [*alike['params'], *group['params']]
        wrapper.optimizer.param_groups[:] = merged
        return wrapper


def _options(group: dict) -> dict:
    return {name: value for name, value in group.items() if name != 'params'}
