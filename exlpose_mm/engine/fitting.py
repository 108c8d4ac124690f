"""Whether a checkpoint is of a model, before it is used.

MMEngine loads what fits and prints the rest as a warning; a test of another model's checkpoint
then ends with the numbers of random weights.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from exlpose_mm.engine.checkpoints import CheckpointError, check_names, differences, listed, load_weights
from exlpose_mm.engine.official_checkpoints import PARTS
from exlpose_mm.lighting import LIGHTINGS, lsbn_layers

TRAINING_ONLY = ('momentum_teacher.', 'head.well_lit_teacher.', 'head.adversary.', 'data_preprocessor.')
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
    found = _spread({re.sub(r'^module\.', '', key): value for key, value in state_dict.items()}, shapes)
    check_names(found, shapes, source)
    problems = differences(found, shapes)
    problems['missing'] = [key for key in problems['missing'] if not NOT_NEEDED.match(key)]
    fits = any(key in shapes and getattr(value, 'shape', None) == shapes[key] for key, value in found.items())
    unfit = not fits if partly else problems['missing'] or problems['of another shape']
    if unfit:
        raise CheckpointError(f'{source} is not of this model{_advice(model, found, problems)}\n  {listed(problems)}')
    return listed(problems)


def load_fitting(model: nn.Module, path: str) -> None:
    """Load the weights of a checkpoint, a path or URL, into a model, without running code from it.

    Raises:
        CheckpointError: If it cannot be read or is of another model.
    """
    weights = load_weights(path)
    check_fits(model, weights, path)
    model.load_state_dict({re.sub(r'^module\.', '', key): value for key, value in weights.items()}, strict=False)


def _spread(state_dict: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Entries of plain batch norms, where the model of these shapes has LSBN, as it would load them."""
    spread = {}
    for key, value in state_dict.items():
        layer, _, entry = key.rpartition('.')
        copies = [f'{layer}.bns.{i}.{entry}' for i in range(len(LIGHTINGS))]
        spread.update(dict.fromkeys(copies if copies[0] in shapes else [key], value))
    return spread


def _advice(model: nn.Module, found: Mapping[str, Tensor], problems: dict[str, list]) -> str:
    official = tuple(prefix.removeprefix('module.') for prefix in PARTS)
    if any(key.startswith(official) for key in found):
        return ", but of the official code's; tools/convert_official.py makes it ours:"
    if any('.bns.' in key for key in problems['unknown']) and not lsbn_layers(model):
        return (
            ': it has LSBN, the model plain batch norms; test it with its own config, or make it plain by '
            'tools/deploy.py:'
        )
    if problems['of another shape'] and not problems['missing']:
        return (
            ': the layers are there, but in other sizes, as with another number of joints; use the config it '
            'was trained with:'
        )
    return '; use the config it was trained with, or `pretrained` for the weights of a backbone:'
