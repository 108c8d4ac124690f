"""What makes training faster, or possible, on a device."""

import ctypes
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from torch import nn

from exlpose_mm.engine.hooks.joints import inner_head
from exlpose_mm.engine.optim import BFloat16OptimWrapper

MIXED = (AmpOptimWrapper, BFloat16OptimWrapper)


@HOOKS.register_module()
class FloatHeadHook(Hook):
    """Has the head put out float32 under mixed precision.

    MMPose's heads measure the accuracy of a training batch in NumPy, which knows no bfloat16.
    """

    def before_train(self, runner: Runner) -> None:
        self._head = inner_head(runner) if isinstance(runner.optim_wrapper, MIXED) else None
        if self._head is not None:
            self._head.forward = _in_float32(self._head.forward)

    def after_train(self, runner: Runner) -> None:
        if self._head is not None:
            self._head.__dict__.pop('forward', None)  # the class' own is there again


def _in_float32(forward: Callable) -> Callable:
    def cast(output: Any) -> Any:
        if isinstance(output, (list, tuple)):
            return type(output)(map(cast, output))
        return output.float() if isinstance(output, torch.Tensor) and output.is_floating_point() else output

    return wraps(forward)(lambda *args, **kwargs: cast(forward(*args, **kwargs)))


@HOOKS.register_module()
class KeepHeapHook(Hook):
    """Keeps the memory that one training step frees for the next, by :func:`keep_heap`, if the model is on a CPU.

    Loader workers, which are forked later, do the same.
    """

    def before_run(self, runner: Runner) -> None:
        if next(runner.model.parameters()).device.type == 'cpu':
            keep_heap()


def keep_heap() -> bool:
    """Have glibc keep freed memory, for the rest of this process and those it forks.

    It hands large blocks back to the kernel otherwise, which clears each page when it is asked for again.
    Tensors on the CPU are such blocks. Tensors on a GPU are not concerned. The price is that
    memory once used stays with the process.

    Returns:
        bool: Whether it could be had; False with another C library than glibc.
    """
    trim_threshold, mmap_max = -1, -4  # malloc.h
    try:
        mallopt = ctypes.CDLL('libc.so.6').mallopt
    except (OSError, AttributeError):
        return False
    return all([mallopt(mmap_max, 0), mallopt(trim_threshold, -1)])


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Lays out the weights of convolutions, and so all that they compute, with the channels last.

    Tensor cores of a GPU want them so, and reorder everything otherwise. Results differ by rounding only. The moments
    of an optimiser that was resumed follow.

    In distributed training the images alone are laid out so, which all that convolutions compute follows, too: torch's
    ``DistributedDataParallel`` noted the layout of the weights, and would silently mix up the gradients of others.
    """

    def before_test(self, runner: Runner) -> None:
        if not is_model_wrapper(runner.model):
            runner.model.to(memory_format=torch.channels_last)

    def before_train(self, runner: Runner) -> None:
        if is_model_wrapper(runner.model):
            self._images = runner.model.module.backbone.register_forward_pre_hook(_with_channels_last)
            return
        runner.model.to(memory_format=torch.channels_last)
        for parameter, state in runner.optim_wrapper.optimizer.state.items():
            for name, value in state.items():
                if parameter.dim() == 4 and value.shape == parameter.shape:
                    state[name] = value.to(memory_format=torch.channels_last)

    def after_train(self, runner: Runner) -> None:
        if is_model_wrapper(runner.model):
            self._images.remove()


def _with_channels_last(module: nn.Module, images: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    return (images[0].contiguous(memory_format=torch.channels_last),)
