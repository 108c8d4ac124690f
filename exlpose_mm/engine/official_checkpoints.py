"""The official code's checkpoints, to ours and back.

The official file (``.pth.tar``) is ``{'epoch', 'state_dict', 'optimizer'}`` of a
``DataParallel`` model. Both networks name their layers alike below the three parts in
:data:`PARTS`, so only the parts are renamed and every tensor stays bit for bit.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import MODELS

from exlpose_mm.compat.extras import CONFIGS
from exlpose_mm.engine.checkpoints import (
    CheckpointError,
    StateDict,
    WeightsPickle,
    check_names,
    differences,
    listed,
    read_checkpoint,
    save_checkpoint,
)
from exlpose_mm.joints import METAINFO

__all__ = ['from_official', 'to_official']

CONFIG = 'exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py'
"""Config of the official network, below ``configs/``."""

PARTS = {
    'module.resnet_lsbn.': 'backbone.',
    'module.global_net.': 'head.global_net.',
    'module.refine_net.': 'head.refine_net.',
}
"""Prefix of the official keys to prefix of ours."""
OFFICIAL_PARTS = {ours: theirs for theirs, ours in PARTS.items()}


def from_official(source: str | Path, target: str | Path) -> dict:
    """Convert a checkpoint of the official code to one of ours.

    The result holds ``state_dict`` and ``meta`` (``epoch``, ``dataset_meta``) and loads
    wherever MMPose takes a checkpoint, for :data:`CONFIG` and configs with the same network.
    The optimizer's state is dropped: the official code groups parameters in another way.

    Args:
        source (str | Path): The official file; read with ``weights_only=True``.
        target (str | Path): File to write. It appears at once and complete, or not at all.

    Returns:
        dict: What was written.

    Raises:
        CheckpointError: If ``source`` is missing, is no checkpoint, holds anything but plain
            data and tensors, or its keys or shapes are not the official network's, or if
            ``target`` cannot be written. Names the file.
    """
    official = read_checkpoint(source, weights_only=True)
    state_dict = _checked_state_dict(source, official, _rename(model_shapes(), OFFICIAL_PARTS))
    meta = dict(epoch=_epoch(official), dataset_meta=parse_pose_metainfo(METAINFO))
    return save_checkpoint(dict(meta=meta, state_dict=_rename(state_dict, PARTS)), target)


def to_official(source: str | Path, target: str | Path) -> dict:
    """Convert one of our checkpoints, trained or converted, to the official code's form.

    The result is ``{'epoch', 'state_dict'}``, which is what the official code tests with.
    Without an ``optimizer`` its training cannot be resumed from it.

    ``source`` may come straight from a training run. Such a file also holds NumPy arrays
    and log buffers, which ``weights_only=True`` refuses; here they are read as
    placeholders, see :class:`~exlpose_mm.engine.checkpoints.WeightsPickle`.

    Args:
        source (str | Path): A checkpoint of :data:`CONFIG` or of the same network.
        target (str | Path): File to write. It appears at once and complete, or not at all.

    Returns:
        dict: What was written.

    Raises:
        CheckpointError: As :func:`from_official`.
    """
    ours = read_checkpoint(source, pickle_module=WeightsPickle, weights_only=False)
    state_dict = _rename(_checked_state_dict(source, ours, model_shapes()), OFFICIAL_PARTS)
    return save_checkpoint(dict(epoch=_epoch(ours.get('meta')), state_dict=state_dict), target)


@cache
def model_shapes() -> dict[str, torch.Size]:
    """Names and shapes in the state dict of :data:`CONFIG`'s model; allocates no weights."""
    config = Config.fromfile(CONFIGS / CONFIG)
    config.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmpose'), torch.device('meta'):
        model = MODELS.build(config.model)
    return {name: value.shape for name, value in model.state_dict().items()}


def _checked_state_dict(path: str | Path, checkpoint: dict, shapes: Mapping[str, torch.Size]) -> StateDict:
    """Return the state dict if it has exactly these keys and shapes."""
    state_dict = checkpoint['state_dict']
    check_names(state_dict, shapes, path)
    problems = listed(differences(state_dict, shapes))
    if problems:
        raise CheckpointError(
            f'{path} does not fit the model of {CONFIG}; is it of another '
            f'network, or meant for the other direction?\n  {problems}'
        )
    return state_dict


def _rename(entries: Mapping[str, Any], prefixes: Mapping[str, str]) -> dict[str, Any]:
    """Exchange the prefixes of the keys; every key has one of them."""
    return {
        prefixes[old] + key[len(old) :]: value
        for key, value in entries.items()
        for old in prefixes
        if key.startswith(old)
    }


def _epoch(holder: Any) -> int:
    epoch = holder.get('epoch') if isinstance(holder, dict) else None
    return epoch if isinstance(epoch, int) else 0
