"""Whether a checkpoint is of a model, before it is used.

MMEngine loads what fits and prints the rest as a warning; a test of another model's checkpoint
then ends with the numbers of random weights.
"""
import os.path as osp
import re
from typing import Dict, List, Mapping

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmpose.registry import HOOKS
from torch import Tensor, nn

from .checkpoints import CheckpointError, differences, listed, load_weights
from .lighting import LIGHTINGS, lsbn_layers
from .official_checkpoints import PARTS

TRAINING_ONLY = ('momentum_teacher.', 'head.well_lit_teacher.', 'head.distillation.', 'head.adversary.',
                 'data_preprocessor.')
"""Parts of the state dict that only training needs."""
NOT_NEEDED = re.compile('|'.join(map(re.escape, TRAINING_ONLY)) + r'|.*num_batches_tracked$')


def check_fits(model: nn.Module, state_dict: Mapping[str, Tensor], source: str, partly: bool = False) -> str:
    """Raise unless a state dict is of a model; plain batch norms fit LSBN.

    Args:
        model (nn.Module): The model.
        state_dict (dict): With or without the prefix ``module.``.
        source (str): What it is called in the message.
        partly (bool): For training to start from: it is enough that one tensor fits. By default all that
            predictions need must.

    Returns:
        str: What does not fit all the same, for the log; empty if all does.

    Raises:
        CheckpointError: Names the source, the layers and the way out.
    """
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    found = _spread(model, {re.sub(r'^module\.', '', key): value for key, value in state_dict.items()})
    problems = differences(found, shapes)
    problems['missing'] = [key for key in problems['missing'] if not NOT_NEEDED.match(key)]
    fits = any(key in shapes and getattr(value, 'shape', None) == shapes[key] for key, value in found.items())
    unfit = not fits if partly else problems['missing'] or problems['of another shape']
    if unfit:
        raise CheckpointError(f'{source} is not of this model{_advice(model, found, problems)}\n  {listed(problems)}')
    return listed(problems)


def load_fitting(model: nn.Module, path: str) -> None:
    """Load a checkpoint's weights into a model, without unpickling more than tensors.

    Raises:
        CheckpointError: If it cannot be read or is of another model.
    """
    weights = load_weights(path)
    check_fits(model, weights, path)
    model.load_state_dict({re.sub(r'^module\.', '', key): value for key, value in weights.items()}, strict=False)


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
            raise CheckpointError(f'there is no checkpoint {path} (of `load_from`, or given to test): train the config '
                                  'that writes it, or name another')
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = getattr(model, 'backbone', None)
        self._fresh: List[torch.Tensor] = []
        cfg = getattr(backbone, 'init_cfg', None)
        if isinstance(cfg, dict) and cfg['type'] == 'Pretrained' and not model.is_init:
            self._backbone = backbone
            self._fresh = [parameter.detach().clone() for parameter in backbone.parameters()]

    def before_train(self, runner: Runner) -> None:
        if self._fresh and all(map(torch.equal, self._fresh, self._backbone.parameters())):
            raise CheckpointError(f'{self._backbone.init_cfg["checkpoint"]} has no weights for this '
                                  f'{type(self._backbone).__name__}: all would be random; choose the checkpoint of '
                                  'such a backbone, by `pretrained` or `init_cfg`, and its `prefix`')
        self._fresh = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        source = runner._load_from or f'the latest checkpoint in {runner.work_dir}'
        starts = isinstance(runner._train_loop, BaseLoop) and not runner._resume
        unused = check_fits(model, checkpoint.get('state_dict', checkpoint), str(source), partly=starts)
        if unused:
            runner.logger.warning(f'{source} is not all of this model:\n  {unused}')


def _spread(model: nn.Module, state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Entries of plain batch norms, where the model has LSBN, as it would load them."""
    layers = {id(layer) for layer in lsbn_layers(model)}
    names = {name for name, module in model.named_modules() if id(module) in layers}
    spread = {}
    for key, value in state_dict.items():
        layer, _, entry = key.rpartition('.')
        copies = [f'{layer}.bns.{i}.{entry}' for i in range(len(LIGHTINGS))] if layer in names else [key]
        spread.update(dict.fromkeys(copies, value))
    return spread


def _advice(model: nn.Module, found: Mapping[str, Tensor], problems: Dict[str, list]) -> str:
    official = tuple(prefix.removeprefix('module.') for prefix in PARTS)
    if any(key.startswith(official) for key in found):
        return ", but of the official code's; tools/convert_official.py makes it ours:"
    if any('.bns.' in key for key in problems['unknown']) and not lsbn_layers(model):
        return (': it has LSBN, the model plain batch norms; test it with its own config, or make it plain by '
                'tools/deploy.py:')
    if problems['of another shape'] and not problems['missing']:
        return (': the layers are there, but in other sizes, as with another number of joints; use the config it '
                'was trained with:')
    return '; use the config it was trained with, or `pretrained` for the weights of a backbone:'
