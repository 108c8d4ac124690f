"""Training hooks."""

from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from exlpose_mm.engine.hooks.step_watch import StepWatch


class NonFiniteLossError(RuntimeError):
    """The loss or its gradients are infinite or not a number; the weights are those of before."""


class _NotFinite(Exception):
    """Leaves a step of the optimiser before it begins."""


class _Iteration(NamedTuple):
    """What a step of the optimiser learns from: one, or several whose gradients are accumulated."""

    number: int
    loss: torch.Tensor
    images: Sequence[str]


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Keeps a loss or gradients that are not finite away from the weights, and says of which images they are.

    Looked at are the gradients, just before the optimiser uses them. A loss that is not finite makes them so, in all
    processes of distributed training. Gradients that were accumulated are left out together, and so are the
    statistics that batch norms learned beside them.

    Of a GPU, one number is read: before the step, if gradient clipping has not read it already; of a fused
    optimiser, which is told on the device and leaves the step out itself, afterwards, where mmengine waits for its log.

    A loss scaler (AMP on a GPU) leaves out such steps itself, which is counted here. Its first ones are no fault, but
    how it finds its scale; so ``action`` concerns a loss that is not finite, and more than 24 steps in a row.

    Args:
        action (str): ``'stop'`` ends the training; ``'skip'`` leaves the iteration out.
        patience (int): How many iterations in a row are left out before training ends all the
            same. Defaults to 10.

    Attributes:
        skipped (int): Steps of the optimiser that were left out.

    Raises:
        ValueError: If ``action`` is neither.
        TypeError: Before training, if its optimiser is not one of torch's.
        NonFiniteLossError: In training; names the images.
    """

    priority = 'VERY_LOW'
    OVERFLOWS = 24
    """More than a loss scaler needs in a row: from 2**16, where it starts, it is at 1 after 16."""

    def __init__(self, action: str = 'stop', patience: int = 10) -> None:
        if action not in ('stop', 'skip'):
            raise ValueError(f"FiniteLossHook can 'stop' or 'skip', not {action!r}")
        self.patience = 0 if action == 'stop' else patience
        self.skipped, self._in_a_row = 0, 0
        self._images: list[str] = []
        self._iterations: list[_Iteration] = []

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        self._steps = StepWatch(wrapper)
        self._guard = wrapper.optimizer.register_step_pre_hook(partial(self._refuse, wrapper))
        wrapper.update_params = self._guarded(wrapper.update_params, runner)
        self._statistics = [buffer for buffer in runner.model.buffers() if buffer.is_floating_point()]
        self._kept = [buffer.clone() for buffer in self._statistics]

    def after_train(self, runner: Runner) -> None:
        self._steps.remove()
        self._guard.remove()
        runner.optim_wrapper.__dict__.pop('update_params', None)  # the class' own is there again

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        samples = (data_batch or {}).get('data_samples', [])
        self._images = [sample.get(key) for sample in samples for key in ('img_path', 'well_lit_path') if key in sample]
        if self._statistics and not self._iterations:
            torch._foreach_copy_(self._kept, self._statistics)

    def _guarded(self, update: Callable, runner: Runner) -> Callable:
        def update_params(loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
            self._iterations.append(_Iteration(runner.iter + 1, loss.detach(), self._images))
            try:
                # Times 1, or times NaN: so the gradients tell of the loss, and nobody waits for it.
                update(loss * (1 + 0 * loss.detach()), *args, **kwargs)
            except _NotFinite:
                runner.optim_wrapper.zero_grad()
            if not _is_scaled(runner.optim_wrapper):
                vars(runner.optim_wrapper.optimizer).pop('found_inf', None)
            if runner.optim_wrapper.should_update():
                self._count(runner)

        return update_params

    @staticmethod
    def _refuse(wrapper: OptimWrapper, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if _is_scaled(wrapper):
            return
        finite = _gradients_are_finite(wrapper)
        if isinstance(finite, torch.Tensor) and getattr(optimizer, '_step_supports_amp_scaling', False):
            vars(optimizer)['found_inf'] = finite.logical_not().float()  # as torch's loss scalers tell it
        elif not finite:
            raise _NotFinite

    def _count(self, runner: Runner) -> None:
        iterations, self._iterations = self._iterations, []
        if self._steps.happened():
            self._in_a_row = 0
        else:
            self._leave_out(runner, iterations)

    def _leave_out(self, runner: Runner, iterations: list[_Iteration]) -> None:
        self.skipped, self._in_a_row = self.skipped + 1, self._in_a_row + 1
        if self._statistics:
            torch._foreach_copy_(self._statistics, self._kept)
        bad = [iteration for iteration in iterations if not iteration.loss.isfinite().all()]
        anywhere = torch.tensor(len(bad), device=iterations[0].loss.device)
        all_reduce(anywhere, 'max')
        message = _describe(bad or iterations, anywhere.item() > 0)
        overflow = _is_scaled(runner.optim_wrapper) and not anywhere
        if self._in_a_row > (self.OVERFLOWS if overflow else self.patience):
            raise NonFiniteLossError(message)
        runner.logger.warning(f'{message}. The iteration is left out, the {self.skipped}. of this run')


def _is_scaled(wrapper: OptimWrapper) -> bool:
    """Whether a loss scaler is at work, which leaves steps out itself; without CUDA, mmengine's is not."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return scaler is not None and scaler.is_enabled()


def _gradients_are_finite(wrapper: OptimWrapper) -> bool | torch.Tensor:
    """On the device, unless the host knows already."""
    grads = [p.grad for group in wrapper.optimizer.param_groups for p in group['params'] if p.grad is not None]
    if not grads:
        return True
    if wrapper.clip_grad_kwargs and wrapper.grad_name == 'grad_norm':
        return isfinite(wrapper.message_hub.get_scalar('train/grad_norm').current())
    return torch.stack(torch._foreach_norm(grads)).isfinite().all()


def _describe(iterations: list[_Iteration], by_loss: bool) -> str:
    numbers, losses = (
        ', '.join(map(str, values))
        for values in (
            [iteration.number for iteration in iterations],
            [iteration.loss.item() for iteration in iterations],
        )
    )
    gradients = '' if by_loss else ', but its gradients are not finite'
    images = ', '.join(str(image) for iteration in iterations for image in iteration.images)
    return (
        f'iteration {numbers}: the loss is {losses}{gradients}, here or in another process; its images here: {images}'
    )
