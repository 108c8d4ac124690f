"""What the thin command lines in ``tools/`` share."""

import os.path as osp
import runpy
import signal
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from types import SimpleNamespace
from urllib.error import URLError

import mmpose
import torch
from mmengine.config import Config
from mmengine.utils import ProgressBar, Timer

from exlpose_mm.datasets.files import DatasetError
from exlpose_mm.datasets.transforms.loading import ImageError
from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.engine.hooks.finite_loss import NonFiniteLossError
from exlpose_mm.engine.hooks.joints import JointsError
from exlpose_mm.engine.hooks.running import TrainingError
from exlpose_mm.engine.variables import ConfigError, load_config, take_variables
from exlpose_mm.evaluation.rows import PredictionError, SplitError

NEEDED = dict(
    train=('train_dataloader', 'train_cfg', 'optim_wrapper'), test=('test_dataloader', 'test_cfg', 'test_evaluator')
)
"""Parts of a config without which MMPose's scripts cannot do their work."""


def count(text: str) -> int:
    """A whole number that is not negative, as argparse's ``type``."""
    number = int(text)
    if number < 0:
        raise ArgumentTypeError(f'{number} is negative')
    return number


def device(text: str) -> str:
    """A device that torch can use, as argparse's ``type``."""
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:
        raise ArgumentTypeError(f'{text!r} cannot be used: {str(error).splitlines()[0]}') from error
    return text


class Progress(ProgressBar):
    """mmengine's bar on a terminal; elsewhere, as in a log file, a line now and then.

    Args:
        task_num (int): Number of tasks; 0 if it is not known.
    """

    EVERY = 30
    """Seconds between two lines."""

    def __init__(self, task_num: int = 0) -> None:
        self.due = self.EVERY
        super().__init__(task_num, file=sys.stdout)

    def start(self) -> None:
        """Begin to count the time."""
        if self.file.isatty():
            super().start()
        self.timer = Timer()

    def update(self, num_tasks: int = 1) -> None:
        """Count tasks that are done."""
        if self.file.isatty():
            return super().update(num_tasks)
        self.completed += num_tasks
        elapsed = self.timer.since_start()
        if elapsed >= self.due or self.completed == self.task_num:
            self.due = elapsed + self.EVERY
            of = f' of {self.task_num}' if self.task_num else ''
            self.file.write(f'{self.completed}{of} done in {elapsed:.0f} s\n')
            self.file.flush()


def printable_output() -> None:
    """Have names and signs that the terminal's encoding lacks printed as escapes, not end the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


@contextmanager
def exiting_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise ``SystemExit`` inside of the block, so that what is open is finished."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def add_result_arguments(parser: ArgumentParser) -> None:
    """Arguments of :class:`~exlpose_mm.evaluation.comparison.Comparison`: results, baseline, resamples and seed."""
    parser.add_argument(
        'results',
        nargs='+',
        metavar='RESULT',
        help='[NAME[:ROW]=]PATH: a work dir (its newest test), a table.json, or a JSON of plain '
        'MMPose, whose numbers belong to ROW (default LL-A); results of one NAME are joined; NAME@1, NAME@2 ... are '
        'trainings of one thing, for their mean and standard deviation',
    )
    parser.add_argument('--baseline', metavar='NAME', help='result that others are compared to')
    parser.add_argument('--resamples', type=int, default=1000, help='of the images, for intervals')
    parser.add_argument('--seed', type=int, default=0, help='of the resamples')


def run_mmpose_tool(name: str) -> None:
    """Run MMPose's own ``tools/<name>.py`` with this process' arguments.

    ``--cfg-options data_root=DIR pretrained=FILE`` are what
    :func:`~exlpose_mm.engine.variables.load_config` takes, which reads the config in place of MMEngine.

    Args:
        name (str): ``'train'`` or ``'test'``.

    Raises:
        SystemExit: With the message alone, if files or options are not as they ought to be, or loss or gradients
            are not finite: a traceback through MMEngine would bury it.
    """
    script = osp.join(osp.dirname(mmpose.__file__), '.mim', 'tools', f'{name}.py')
    try:
        rest, variables = take_variables(sys.argv[1:])
        sys.argv = [script, *rest]
        main = runpy.run_path(script)['main']
        main.__globals__['Config'] = SimpleNamespace(fromfile=lambda path: _read(name, path, variables))
        main()
    except URLError as error:
        sys.exit(
            f'{name}: a download failed ({error}): fetch the checkpoint where there is a network, and name the file, '
            "--cfg-options pretrained=FILE if it is the backbone's"
        )
    except (
        DatasetError,
        ImageError,
        CheckpointError,
        ConfigError,
        JointsError,
        NonFiniteLossError,
        PredictionError,
        SplitError,
        TrainingError,
    ) as error:
        sys.exit(f'{name}: {error}')


def _read(name: str, path: str, variables: dict[str, str]) -> Config:
    config = load_config(path, **variables)
    missing = [part for part in NEEDED[name] if config.get(part) is None]
    if missing:
        raise ConfigError(
            f'{path} has no {", ".join(missing)}: it is of a model for inference, as tools/publish_model.py writes it; '
            'name the config that the model was trained with'
        )
    return config
