"""Checkpoints that are complete or not there, whenever the process is killed or the disk is full."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import BaseStorageBackend, LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, find_latest_checkpoint
from mmpose.registry import HOOKS

from exlpose_mm.engine.checkpoints import CheckpointError, replacing


class ReplacingBackend(LocalBackend):
    """mmengine's local files, but a file takes its name when all of it is on the disk.

    Raises:
        CheckpointError: If it cannot be written; what had the name before is untouched.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        with replacing(Path(filepath)) as temporary, open(temporary, 'wb') as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())


register_backend('replacing', ReplacingBackend, force=True)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's, but a run that dies at any moment leaves a complete checkpoint to resume from.

    mmengine writes anew the checkpoint that ``last_checkpoint`` names when its score is the best so far, empties
    ``last_checkpoint`` before it writes it, and removes the outdated and the previous best checkpoint before
    the new one is there. Here files are replaced at once and removed last, which takes room for one more
    checkpoint. What a killed run left half written is removed when training starts again. Only local files
    are handled so.

    Args:
        **kwargs: As for :class:`mmengine.hooks.CheckpointHook`.

    Raises:
        CheckpointError: In training, if a checkpoint cannot be written. Names it and the one to resume from.
    """

    file_backend: BaseStorageBackend

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._local = type(self.file_backend) in (LocalBackend, ReplacingBackend)
        if not self._local:
            return
        self.backend_args = dict(backend='replacing')
        if is_main_process():
            for half in (*Path(self.out_dir).glob('.*.pth.*'), *Path(runner.work_dir).glob('.last_checkpoint.*')):
                half.unlink()

    def _save_checkpoint(self, runner: Runner) -> None:
        with _naming_the_complete_one(runner):
            super()._save_checkpoint(runner)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        if not self._local:
            return super()._save_checkpoint_with_step(runner, step, meta)
        outdated = self._keep(runner, step)
        self.last_ckpt = self._path(step)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            with replacing(Path(runner.work_dir, 'last_checkpoint')) as file:
                file.write_text(self.last_ckpt, encoding='utf-8')
            self._remove(outdated)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if not self._local:
            return super()._save_best_checkpoint(runner, metrics)
        previous: list[str] = []
        backend = self.file_backend
        self.file_backend = copy(backend)
        self.file_backend.remove = previous.append
        try:
            with _naming_the_complete_one(runner):
                super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        best = [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]
        self._remove(path for path in previous if path not in best)

    def _keep(self, runner: Runner, step: int) -> list[str]:
        """Note that a checkpoint is kept; return those that then are no longer."""
        if self.max_keep_ckpts <= 0 or step in self.keep_ckpt_ids:
            return []
        before = list(self.keep_ckpt_ids)
        self.keep_ckpt_ids.append(step)  # drops the oldest of too many
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        return [self._path(old) for old in before if old not in self.keep_ckpt_ids]

    def _path(self, step: int) -> str:
        return self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)


@contextmanager
def _naming_the_complete_one(runner: Runner) -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        last = find_latest_checkpoint(runner.work_dir)
        way_out = f'{last} is complete: make room and resume from it' if last else 'no other is there yet: make room'
        raise CheckpointError(f'{error}; {way_out}') from error
