"""Checkpoints that are complete or not there, whenever the process is killed or the disk is full."""
import os
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Iterator, Union

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from .checkpoints import CheckpointError, replacing


class ReplacingBackend(LocalBackend):
    """mmengine's local files, but a file takes its name when all of it is on the disk.

    Raises:
        CheckpointError: If it cannot be written; what had the name before is untouched.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        with replacing(Path(filepath)) as temporary, open(temporary, 'wb') as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())


register_backend('replacing', ReplacingBackend, force=True)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's, but a run that dies at any moment leaves a complete checkpoint to resume from.

    mmengine writes over the checkpoint that ``last_checkpoint`` names when its score is the best, empties
    ``last_checkpoint`` before it writes it, and removes the outdated and the previous best checkpoint before
    the new one is there. Here files are replaced at once, and removed last; that takes room for one checkpoint
    more. Only local files are handled so.

    Args:
        **kwargs: As for :class:`mmengine.hooks.CheckpointHook`.

    Raises:
        CheckpointError: In training, if a checkpoint cannot be written. Says which one is complete.
    """

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._local = type(self.file_backend) is LocalBackend
        if self._local:
            self.backend_args = dict(backend='replacing')
            for abandoned in Path(self.out_dir).glob('.*.pth.*') if is_main_process() else ():
                abandoned.unlink(missing_ok=True)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        with self._removing_last(), _replacing_last_checkpoint(runner):
            try:
                super()._save_checkpoint_with_step(runner, step, meta)
            except CheckpointError as error:
                raise CheckpointError(f'{error}. {_whole(runner)}') from error

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        with self._removing_last():
            super()._save_best_checkpoint(runner, metrics)
