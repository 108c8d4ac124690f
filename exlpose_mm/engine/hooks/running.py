"""Trainings that learn something, are alone in their folder, resume from what is whole, and leave no worker behind."""

import os
import re
import zipfile
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.runner import BaseLoop, Runner
from mmpose.registry import HOOKS
from torch.utils.data import DataLoader

from exlpose_mm.compat.orphans import end_with_parent
from exlpose_mm.engine.checkpoints import CheckpointError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]  # a module that is missing has no other stand-in

CHECKPOINT = re.compile(r'(?:epoch|iter)_(\d+)\.pth')
FROZEN = 0.05
"""Share of the initial learning rate below which a training learns next to nothing."""


class TrainingError(ValueError):
    """A training could not do what it is there for."""


@HOOKS.register_module()
class LearningHook(Hook):
    """Refuses a training that would not make one iteration; says what a resumed one does not take from its config.

    A resumed run goes on with the schedule and the optimiser's settings of its checkpoint. If the run was made longer,
    the schedule ends before it does: milestones after that never come, and a rate near 0 stays there.

    Raises:
        TrainingError: Before training, if there are fewer samples than a batch wants and ``drop_last``.
    """

    def __init__(self) -> None:
        self._watches = False
        self._wanted: dict = {}

    def before_run(self, runner: Runner) -> None:
        self._wanted = _rate_settings(runner)

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_dataloader
        if hasattr(loader, '__len__') and not len(loader):
            raise TrainingError(
                f'{len(loader.dataset)} samples make no batch of {_batch_size(loader)} that is full, '
                'and drop_last leaves out any other: nothing would be learned; use a smaller '
                'batch_size or drop_last=False'
            )
        self._watches = runner._resume
        if runner._resume:
            self._say_what_is_not_taken(runner)

    def _say_what_is_not_taken(self, runner: Runner) -> None:
        found, wanted = _rate_settings(runner), self._wanted
        changed = [
            f'{name} is {found[name]}, not {wanted[name]}'
            for name in found
            if name in wanted and found[name] != wanted[name]
        ]
        if changed:
            runner.logger.warning(
                'A resumed run goes on with the learning rates of its checkpoint, not with what the config says now: '
                f'{"; ".join(changed)}. To train as it says, start anew with load_from=CHECKPOINT'
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        if not self._watches:
            return
        schedules = _schedules(runner)
        groups = runner.optim_wrapper.param_groups
        rates = [group['lr'] / group['initial_lr'] for group in groups if group.get('initial_lr')]
        ended = all((runner.epoch if schedule.by_epoch else runner.iter) >= schedule.end for schedule in schedules)
        if schedules and rates and max(rates) < FROZEN and ended:
            self._watches = False
            runner.logger.warning(
                f'The schedule of the learning rate has ended with {max(rates):.2g} of what it was at first, the '
                f'training has not: from iteration {runner.iter + 1} to {runner.max_iters} next to nothing is learned. '
                'A resumed run goes on with the schedule of its checkpoint; to train longer, start anew with '
                'load_from=CHECKPOINT'
            )


def _batch_size(loader: DataLoader) -> int | None:
    return loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)


def _schedules(runner: Runner) -> list[_ParamScheduler]:
    """Those that are built: in a test there is their config."""
    found = runner.param_schedulers or []
    found = sum(found.values(), []) if isinstance(found, dict) else found
    return [schedule for schedule in found if isinstance(schedule, _ParamScheduler)]


MOVING = ('optimizer', 'last_step', 'verbose', 'lr', 'params')
"""What a schedule or a group of parameters holds that is no setting, or changes while a training runs."""


def _rate_settings(runner: Runner) -> dict[str, object]:
    """Settings of the schedules and of the optimiser's first group of parameters, by their names."""
    holders = {f'{type(schedule).__name__} {i}': vars(schedule) for i, schedule in enumerate(_schedules(runner), 1)}
    if isinstance(runner.optim_wrapper, OptimWrapper):
        holders['optimizer'] = runner.optim_wrapper.param_groups[0]
    return {
        f"{holder}'s {name}": value
        for holder, settings in holders.items()
        for name, value in settings.items()
        if name not in MOVING and not name.startswith('_')
    }


@HOOKS.register_module()
class WorkDirHook(Hook):
    """Keeps a work dir for one training at a time, and resumes from the newest whole checkpoint in it.

    mmengine reads from ``last_checkpoint`` where to resume; without that file, or with one that is empty, it starts
    again and overwrites what is there, and one that was moved with its folder names a place that is gone.

    Raises:
        TrainingError: Before the first iteration, if another process trains there.
        CheckpointError: If there are checkpoints to resume from, but none is whole, or the given one is not.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        if not isinstance(runner._train_loop, BaseLoop):  # a config, in a test
            return
        if is_main_process():
            _lock(Path(runner.work_dir))
        if runner._resume and runner._load_from is None:
            runner._load_from = newest_checkpoint(runner.work_dir)
        elif runner._resume and os.path.isfile(runner._load_from) and not is_whole(Path(runner._load_from)):
            raise CheckpointError(
                f'{runner._load_from} is cut off; the newest whole checkpoint of its folder is '
                f'{newest_checkpoint(os.path.dirname(runner._load_from))}'
            )

    def after_run(self, runner: Runner) -> None:
        _unlock(Path(runner.work_dir))


def newest_checkpoint(folder: str) -> str | None:
    """The checkpoint of the most epochs or iterations in a work dir that is whole; None if there is none at all.

    If the folder has none, but its ``last_checkpoint`` names one elsewhere, it is that.

    Raises:
        CheckpointError: If there are some, but none is whole.
    """
    matches = {path: CHECKPOINT.fullmatch(path.name) for path in Path(folder).glob('*.pth')}
    found = {path: int(match[1]) for path, match in matches.items() if match}
    note = Path(folder) / 'last_checkpoint'
    named = note.read_text(encoding='utf-8').strip() if note.is_file() else ''
    paths = sorted(found, key=lambda path: found[path], reverse=True) or [Path(named)] * bool(named)
    whole = next(filter(is_whole, paths), None)
    if paths and whole is None:
        raise CheckpointError(
            f'no checkpoint to resume from: {", ".join(map(str, paths))} cannot be read as a whole; '
            f'copy one into {folder}, or train into another folder'
        )
    return None if whole is None else str(whole)


def is_whole(path: Path) -> bool:
    """Whether a file of ``torch.save`` is there to its end; what torch wrote before version 1.6 is taken to be."""
    if not path.is_file() or not path.stat().st_size:
        return False
    with open(path, 'rb') as file:
        return file.read(2) != b'PK' or zipfile.is_zipfile(path)


_LOCKS: dict[str, int] = {}


def _lock(folder: Path) -> None:
    key = str(folder.resolve())
    if fcntl is None or key in _LOCKS:
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / '.training', os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(file, 20).decode()
        os.close(file)
        raise TrainingError(
            f'process {owner} is training into {folder}: its checkpoints and yours would overwrite '
            'each other; choose another work_dir'
        ) from error
    except OSError:  # a file system without locks
        os.close(file)
        return
    os.truncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    _LOCKS[key] = file


def _unlock(folder: Path) -> None:
    file = _LOCKS.pop(str(folder.resolve()), None)
    if file is not None:
        os.close(file)


@HOOKS.register_module()
class OrphansHook(Hook):
    """Has the workers of the loaders die with the training; see :func:`end_with_parent`."""

    def before_run(self, runner: Runner) -> None:
        end_with_parent()
