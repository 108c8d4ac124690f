"""Whether a checkpoint is of the model, before training or testing."""

import os.path as osp

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmpose.registry import HOOKS

from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.engine.fitting import check_fits


@HOOKS.register_module()
class CheckpointFitHook(Hook):
    """Refuses a checkpoint of another model, of which MMEngine would load what fits and warn of the rest.

    In testing and resuming all that predictions need must be there. Training that starts from a checkpoint
    (``load_from``) may use a part of it; what it does not use is logged in short. So may a backbone with
    ``init_cfg=dict(type='Pretrained')``.

    Raises:
        CheckpointError: When the checkpoint was read; the weights are those of before. Before anything else,
            if there is no such file; before training, if the backbone's has nothing for it.
    """

    def before_run(self, runner: Runner) -> None:
        path = runner._load_from
        if path and '://' not in str(path) and not osp.isfile(path):
            raise CheckpointError(
                f'there is no checkpoint {path} (of `load_from`, or given to test): train the config '
                'that writes it, or name another'
            )
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = getattr(model, 'backbone', None)
        self._fresh: list[torch.Tensor] = []
        cfg = getattr(backbone, 'init_cfg', None)
        if backbone is not None and isinstance(cfg, dict) and cfg['type'] == 'Pretrained' and not model.is_init:
            self._backbone = backbone
            self._fresh = [parameter.detach().clone() for parameter in backbone.parameters()]

    def before_train(self, runner: Runner) -> None:
        if self._fresh and all(map(torch.equal, self._fresh, self._backbone.parameters())):
            raise CheckpointError(
                f'{self._backbone.init_cfg["checkpoint"]} has no weights for this '
                f'{type(self._backbone).__name__}: all would be random; choose the checkpoint of '
                'such a backbone, by `pretrained` or `init_cfg`, and its `prefix`'
            )
        self._fresh = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        source = runner._load_from or f'the latest checkpoint in {runner.work_dir}'
        starts = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        unused = check_fits(model, checkpoint.get('state_dict', checkpoint), str(source), partly=starts)
        if unused:
            runner.logger.warning(f'{source} is not all of this model:\n  {unused}')
