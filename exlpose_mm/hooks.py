"""Training hooks."""
import ctypes
from functools import wraps
from typing import Callable, Dict, List, Optional

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper
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

    Under gradient accumulation that is once per ``accumulative_counts`` iterations. A teacher
    that was never updated becomes equal to the network when training starts, after checkpoints
    were loaded.

    Args:
        evaluate (bool): Validate and test the teacher's weights in place of the network's.
            Checkpoints hold both all the same. Defaults to False.

    Raises:
        ValueError: Before training, validation or testing, if the model has no momentum
            teacher, or one to be evaluated that was never trained.
    """

    priority = 'NORMAL'

    def __init__(self, evaluate: bool = False) -> None:
        self.evaluate = evaluate

    def before_train(self, runner: Runner) -> None:
        model = self._model(runner)
        if model.momentum_teacher.updates == 0:
            model.momentum_teacher.update(model.network)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None,
                         outputs: Optional[dict] = None) -> None:
        if runner.optim_wrapper.should_update():
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
    """The loss is infinite or not a number; the weights are those of before."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Keeps a loss that is not finite away from the weights, and says of which images it is.

    It is looked at before the backward pass, on all processes of distributed training: one of
    them is enough. On a GPU that waits for the loss.

    Args:
        action (str): ``'stop'`` ends the training; ``'skip'`` leaves the iteration out.
        patience (int): How many iterations in a row are left out before training ends all the
            same. Defaults to 10.

    Raises:
        ValueError: If ``action`` is neither.
        NonFiniteLossError: In training; names the images.
    """

    priority = 'VERY_LOW'

    def __init__(self, action: str = 'stop', patience: int = 10) -> None:
        if action not in ('stop', 'skip'):
            raise ValueError(f"FiniteLossHook can 'stop' or 'skip', not {action!r}")
        self.patience = 0 if action == 'stop' else patience
        self.skipped, self._in_a_row, self._images = 0, 0, []

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        wrapper.update_params = self._guarded(wrapper.update_params, runner)

    def after_train(self, runner: Runner) -> None:
        runner.optim_wrapper.__dict__.pop('update_params', None)  # the class' own is there again

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Optional[dict] = None) -> None:
        samples = (data_batch or {}).get('data_samples', [])
        self._images = [sample.get(key) for sample in samples for key in ('img_path', 'well_lit_path') if key in sample]

    def _guarded(self, update: Callable, runner: Runner) -> Callable:
        def update_params(loss: torch.Tensor, *args, **kwargs) -> None:
            finite = torch.isfinite(loss.detach()).all().to(torch.int32)
            all_reduce(finite, 'min')
            if finite:
                self._in_a_row = 0
                update(loss, *args, **kwargs)
            else:
                self._leave_out(runner, loss)

        return update_params

    def _leave_out(self, runner: Runner, loss: torch.Tensor) -> None:
        self.skipped, self._in_a_row = self.skipped + 1, self._in_a_row + 1
        where = f'iteration {runner.iter + 1}: the loss is {loss.item()}, here or in another process; its images here: '
        message = where + ', '.join(map(str, self._images))
        if self._in_a_row > self.patience:
            raise NonFiniteLossError(message)
        runner.logger.warning(f'{message}. The iteration is left out, the {self.skipped}. of this run')


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
    """Keeps the memory that one training step frees for the next, by :func:`keep_heap`.

    Loader workers, which are forked later, do the same.
    """

    def before_run(self, runner: Runner) -> None:
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
