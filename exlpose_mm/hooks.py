"""Training hooks."""
import ctypes
from functools import partial, wraps
from math import isfinite
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Union

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import BaseLoop, Runner
from mmpose.registry import HOOKS


@HOOKS.register_module()
class InitialValHook(Hook):
    """Validate once before training too, and say at the end what training added.

    The last line group of the log compares every ``<row>/AP`` and ``<row>/OKS`` of the
    untrained with those of the trained model, in percent.
    """

    # After CheckpointHook, which prepares for its best checkpoint in before_train.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.history: List[Dict[str, float]] = []

    def before_train(self, runner: Runner) -> None:
        runner.logger.info('Validation of the untrained model')
        runner.val_loop.run()
        runner.model.train()

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        self.history.append(dict(metrics or {}))

    def after_train(self, runner: Runner) -> None:
        first, last = self.history[0], self.history[-1]
        lines = [f'{key:<10}{100 * first[key]:>10.1f}{100 * last[key]:>10.1f}'
                 for key in first if key.endswith(('/AP', '/OKS'))]
        header = f'{"percent":<10}{"untrained":>10}{"trained":>10}'
        runner.logger.info('\n'.join(['What training added', header, *lines]))


@HOOKS.register_module()
class MomentumTeacherHook(Hook):
    """Moves the momentum teacher towards the network, once per step of the optimiser.

    Under gradient accumulation that is once per ``accumulative_counts`` iterations; a step that was
    left out, by :class:`FiniteLossHook` or by a loss scaler, is none. A teacher that was never updated
    becomes equal to the network when training starts, after checkpoints were loaded.

    Args:
        evaluate (bool): Validate and test the teacher's weights in place of the network's.
            Checkpoints hold both all the same. Defaults to False.

    Raises:
        ValueError: Before training, validation or testing, if the model has no momentum
            teacher, or one to be evaluated that was never trained.
        TypeError: Before training, if its optimiser is not one of torch's.
    """

    priority = 'NORMAL'

    def __init__(self, evaluate: bool = False) -> None:
        self.evaluate = evaluate

    def before_train(self, runner: Runner) -> None:
        model = self._model(runner)
        self._steps = StepWatch(runner.optim_wrapper)
        if model.momentum_teacher.updates == 0:
            model.momentum_teacher.update(model.network)

    def after_train(self, runner: Runner) -> None:
        self._steps.remove()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        if self._steps.happened():
            model = self._model(runner)
            model.momentum_teacher.update(model.network)

    def before_val_epoch(self, runner: Runner) -> None:
        self._swap(runner)

    def after_val_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        self._swap(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        self._swap(runner)

    def after_test_epoch(self, runner: Runner, metrics: Optional[Dict[str, float]] = None) -> None:
        self._swap(runner)

    def _swap(self, runner: Runner) -> None:
        if not self.evaluate:
            return
        model = self._model(runner)
        if model.momentum_teacher.updates == 0:
            raise ValueError('MomentumTeacherHook(evaluate=True): this momentum teacher was never trained; use a '
                             'checkpoint that has one, or evaluate=False')
        average = model.momentum_teacher.network.state_dict()
        for name, tensor in model.network.state_dict().items():
            kept = tensor.clone()
            tensor.copy_(average[name])
            average[name].copy_(kept)

    @staticmethod
    def _model(runner: Runner):
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if getattr(model, 'momentum_teacher', None) is None:
            raise ValueError('MomentumTeacherHook found no momentum teacher: give the DualTeacherHead a '
                             'momentum_teacher, or leave the hook out')
        return model


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
        self._images: List[str] = []
        self._iterations: List[_Iteration] = []

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

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        samples = (data_batch or {}).get('data_samples', [])
        self._images = [sample.get(key) for sample in samples for key in ('img_path', 'well_lit_path') if key in sample]
        if self._statistics and not self._iterations:
            torch._foreach_copy_(self._kept, self._statistics)

    def _guarded(self, update: Callable, runner: Runner) -> Callable:
        def update_params(loss: torch.Tensor, *args, **kwargs) -> None:
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
    def _refuse(wrapper: OptimWrapper, optimizer: torch.optim.Optimizer, *_) -> None:
        if _is_scaled(wrapper):
            return
        finite = _gradients_are_finite(wrapper)
        if isinstance(finite, torch.Tensor) and getattr(optimizer, '_step_supports_amp_scaling', False):
            optimizer.found_inf = finite.logical_not().float()  # as torch's loss scalers tell it
        elif not finite:
            raise _NotFinite

    def _count(self, runner: Runner) -> None:
        iterations, self._iterations = self._iterations, []
        if self._steps.happened():
            self._in_a_row = 0
        else:
            self._leave_out(runner, iterations)

    def _leave_out(self, runner: Runner, iterations: List[_Iteration]) -> None:
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


def _gradients_are_finite(wrapper: OptimWrapper) -> Union[bool, torch.Tensor]:
    """On the device, unless the host knows already."""
    grads = [p.grad for group in wrapper.optimizer.param_groups for p in group['params'] if p.grad is not None]
    if not grads:
        return True
    if wrapper.clip_grad_kwargs and wrapper.grad_name == 'grad_norm':
        return isfinite(wrapper.message_hub.get_scalar('train/grad_norm').current())
    return torch.stack(torch._foreach_norm(grads)).isfinite().all()


def _describe(iterations: List[_Iteration], by_loss: bool) -> str:
    numbers, losses = (', '.join(map(str, values)) for values in (
        [iteration.number for iteration in iterations], [iteration.loss.item() for iteration in iterations]))
    gradients = '' if by_loss else ', but its gradients are not finite'
    images = ', '.join(str(image) for iteration in iterations for image in iteration.images)
    return (f'iteration {numbers}: the loss is {losses}{gradients}, here or in another process; '
            f'its images here: {images}')


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
            raise TypeError(f'FiniteLossHook and MomentumTeacherHook follow one optimiser of torch, but that of '
                            f'{type(wrapper).__name__} is {optimizer!r}: use an OptimWrapper or AmpOptimWrapper, or '
                            'leave the hooks out')
        self._overflows: List[Optional[torch.Tensor]] = []
        self._handle = optimizer.register_step_post_hook(self._note)

    def _note(self, optimizer: torch.optim.Optimizer, *_) -> None:
        # A fused optimiser steps in vain if it is told so, on the device.
        self._overflows.append(getattr(optimizer, 'found_inf', None))

    def happened(self) -> bool:
        """Since this was last asked."""
        overflows, self._overflows = self._overflows, []
        return any(overflow is None or not overflow for overflow in overflows)

    def remove(self) -> None:
        """Watch no longer."""
        self._handle.remove()


@HOOKS.register_module()
class FloatHeadHook(Hook):
    """Has the head put out float32 under mixed precision.

    MMPose's heads measure the accuracy of a training batch in NumPy, which knows no bfloat16.
    """

    def before_train(self, runner: Runner) -> None:
        if isinstance(runner.optim_wrapper, AmpOptimWrapper):
            self._head = inner_head(runner)
            self._head.forward = _in_float32(self._head.forward)

    def after_train(self, runner: Runner) -> None:
        if isinstance(runner.optim_wrapper, AmpOptimWrapper):
            self._head.__dict__.pop('forward', None)  # the class' own is there again


def _in_float32(forward: Callable) -> Callable:
    def cast(output):
        if isinstance(output, (list, tuple)):
            return type(output)(map(cast, output))
        return output.float() if isinstance(output, torch.Tensor) and output.is_floating_point() else output

    return wraps(forward)(lambda *args, **kwargs: cast(forward(*args, **kwargs)))


def inner_head(runner: Runner) -> Optional[torch.nn.Module]:
    """The head that predicts, without its teachers; None if the model has no head."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    head = getattr(model, 'head', None)
    return getattr(head, 'head', head)


class JointsError(ValueError):
    """Data and head differ in the number of joints."""


@HOOKS.register_module()
class JointsHook(Hook):
    """Refuses data of people with other joints than the head predicts; pipelines and metrics that convert them may.

    Raises:
        JointsError: Before the first iteration, names both numbers.
    """

    def before_run(self, runner: Runner) -> None:
        head = inner_head(runner)
        predicted = next((getattr(head, name) for name in ('num_keypoints', 'num_joints', 'out_channels')
                          if isinstance(getattr(head, name, None), int)), None)
        for name, loop in (('train', runner._train_loop), ('val', runner._val_loop), ('test', runner._test_loop)):
            if predicted is None or not isinstance(loop, BaseLoop) or _converts(loop):
                continue
            found = getattr(loop.dataloader.dataset, 'metainfo', {}).get('num_keypoints', predicted)
            if found != predicted:
                raise JointsError(f'the {type(head).__name__} predicts {predicted} joints, but the people of '
                                  f'{name}_dataloader have {found}: change its out_channels, take another data set or '
                                  'metainfo, or convert by KeypointConverter')


def _converts(loop: BaseLoop) -> bool:
    """Whether a transform or a metric changes which joints there are."""
    metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
    return 'KeypointConverter' in repr(_pipelines(loop.dataloader.dataset)) or any(
        getattr(metric, name, None) for metric in metrics for name in ('pred_converter', 'gt_converter'))


def _pipelines(dataset) -> list:
    parts = getattr(dataset, '_datasets', None) or getattr(dataset, 'datasets', [])
    return [getattr(dataset, 'pipeline', None), *map(_pipelines, parts)]


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
    """

    def before_test(self, runner: Runner) -> None:
        runner.model.to(memory_format=torch.channels_last)

    def before_train(self, runner: Runner) -> None:
        runner.model.to(memory_format=torch.channels_last)
        for parameter, state in runner.optim_wrapper.optimizer.state.items():
            for name, value in state.items():
                if parameter.dim() == 4 and value.shape == parameter.shape:
                    state[name] = value.to(memory_format=torch.channels_last)


@HOOKS.register_module()
class LogHistoryHook(Hook):
    """Keeps the last values of each logged number only.

    mmengine keeps a million of each, copies all of them in every iteration, and writes them into every
    checkpoint: 16 bytes for each number and iteration.

    Args:
        keep (int): How many; what the log averages over must be among them. Defaults to 10000.
    """

    def __init__(self, keep: int = 10000) -> None:
        self.keep = keep

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        for history in runner.message_hub.log_scalars.values():
            history.max_length = self.keep
