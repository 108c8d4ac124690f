"""The official code's checkpoints, to ours and back.

The official file (``.pth.tar``) is ``{'epoch', 'state_dict', 'optimizer'}`` of a
``DataParallel`` model. Both networks name their layers alike below the three parts in
:data:`PARTS`, so only the parts are renamed and every tensor stays bit for bit.
"""
import os
import pickle
import zipfile
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Union

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import MODELS

from .datasets import METAINFO

__all__ = ['CheckpointError', 'from_official', 'to_official']

CONFIG = 'exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py'
"""Config of the official network, below ``configs/``."""

PARTS = {
    'module.resnet_lsbn.': 'backbone.',
    'module.global_net.': 'head.head.global_net.',
    'module.refine_net.': 'head.head.refine_net.'
}
"""Prefix of the official keys to prefix of ours."""
OFFICIAL_PARTS = {ours: theirs for theirs, ours in PARTS.items()}

StateDict = Dict[str, torch.Tensor]
MAX_LISTED = 10


class CheckpointError(ValueError):
    """A file is no checkpoint of the expected network, or cannot be read or written."""


def from_official(source: Union[str, Path], target: Union[str, Path]) -> dict:
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
    official = _load(source, weights_only=True)
    state_dict = _checked_state_dict(source, official, _rename(model_shapes(), OFFICIAL_PARTS))
    meta = dict(epoch=_epoch(official), dataset_meta=parse_pose_metainfo(METAINFO))
    return save_checkpoint(dict(meta=meta, state_dict=_rename(state_dict, PARTS)), target)


def to_official(source: Union[str, Path], target: Union[str, Path]) -> dict:
    """Convert one of our checkpoints, trained or converted, to the official code's form.

    The result is ``{'epoch', 'state_dict'}``, which is what the official code tests with.
    Without an ``optimizer`` its training cannot be resumed from it.

    ``source`` may come straight from a training run. Such a file also holds NumPy arrays
    and log buffers, which ``weights_only=True`` refuses; here they are read as
    placeholders, see :class:`WeightsPickle`.

    Args:
        source (str | Path): A checkpoint of :data:`CONFIG` or of the same network.
        target (str | Path): File to write. It appears at once and complete, or not at all.

    Returns:
        dict: What was written.

    Raises:
        CheckpointError: As :func:`from_official`.
    """
    ours = _load(source, pickle_module=WeightsPickle, weights_only=False)
    state_dict = _rename(_checked_state_dict(source, ours, model_shapes()), OFFICIAL_PARTS)
    return save_checkpoint(dict(epoch=_epoch(ours.get('meta')), state_dict=state_dict), target)


def load_weights(source: Union[str, Path]) -> StateDict:
    """The state dict of a checkpoint of this package, safely; see :func:`to_official`.

    Raises:
        CheckpointError: As :func:`from_official`.
    """
    return _load(source, pickle_module=WeightsPickle, weights_only=False)['state_dict']


@lru_cache(maxsize=None)
def model_shapes() -> Dict[str, torch.Size]:
    """Names and shapes in the state dict of :data:`CONFIG`'s model; allocates no weights."""
    config = Config.fromfile(Path(__file__).parent / '.mim' / 'configs' / CONFIG)
    config.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmpose'), torch.device('meta'):
        model = MODELS.build(config.model)
    return {name: value.shape for name, value in model.state_dict().items()}


class Placeholder:
    """Stands for an object that is no tensor; takes what pickle does to it and does nothing."""

    def __new__(cls, *args, **kwargs):
        return super().__new__(cls)

    def _ignore(self, *args) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = _ignore


class WeightsPickle:
    """The tensors and plain data of a checkpoint, as ``pickle_module`` of :func:`torch.load`.

    A pickle runs code by naming a callable. Here no name is looked up but the few that
    tensors need; all else, harmless or not, becomes a :class:`Placeholder`.
    """

    NAMES = {
        ('collections', 'OrderedDict'), ('torch._utils', '_rebuild_tensor_v2'),
        ('torch._utils', '_rebuild_parameter')
    }

    class Unpickler(pickle.Unpickler):
        """Looks up :attr:`WeightsPickle.NAMES` only; torch itself resolves storages."""

        def find_class(self, module: str, name: str) -> Any:
            known = (module, name) in WeightsPickle.NAMES
            return super().find_class(module, name) if known else Placeholder


def _load(path: Union[str, Path], **kwargs) -> dict:
    """``torch.load`` on the CPU, with every failure as a :class:`CheckpointError`."""
    try:
        _check_archive(path)
        checkpoint = torch.load(path, map_location='cpu', **kwargs)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f'cannot read checkpoint {path}: {error.strerror}') from error
    except Exception as error:  # A damaged file can fail anywhere in the unpickler.
        reason = str(error).rpartition('WeightsUnpickler error: ')[2]
        raise CheckpointError(f'{path} is refused: it is damaged, or holds more than tensors and '
                              f'plain data ({reason}). If you trust it, load it where you made it '
                              "and save {'state_dict': ...} alone") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get('state_dict'), dict):
        raise CheckpointError(f"{path} is no checkpoint: it has no 'state_dict'")
    return checkpoint


def _check_archive(path: Union[str, Path]) -> None:
    """Raise :class:`CheckpointError` unless the file is a plain archive of ``torch.save``.

    ``torch.load`` hands TorchScript archives and files of older formats to other readers,
    which ``weights_only`` does not bind.
    """
    with open(path, 'rb') as file:
        is_zip = file.read(4) == b'PK\x03\x04' and zipfile.is_zipfile(file)
    members = zipfile.ZipFile(path).namelist() if is_zip else []
    names = {Path(member).name for member in members}
    if 'data.pkl' not in names or 'constants.pkl' in names:
        raise CheckpointError(
            f'{path} is no checkpoint as torch.save writes it since version 1.6: it is something '
            'else, a TorchScript archive or of the older format; the last, if you trust it, can '
            'be loaded and saved again')


def _checked_state_dict(path: Union[str, Path], checkpoint: dict,
                        shapes: Mapping[str, torch.Size]) -> StateDict:
    """Return the state dict if it has exactly these keys and shapes."""
    state_dict = checkpoint['state_dict']
    problems = listed(differences(state_dict, shapes))
    if problems:
        raise CheckpointError(f'{path} does not fit the model of {CONFIG}; is it of another '
                              f'network, or meant for the other direction?\n  {problems}')
    return state_dict


def differences(state_dict: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> Dict[str, List[str]]:
    """Keys of a state dict that are ``unknown``, ``missing`` or ``of another shape`` (said in brackets)."""
    found = {key: value.shape if isinstance(value, torch.Tensor) else type(value).__name__
             for key, value in state_dict.items()}
    return {
        'unknown': [str(key) for key in found if key not in shapes],
        'missing': [key for key in shapes if key not in found],
        'of another shape': [f'{key} ({_text(found[key])}, not {_text(shape)})'
                             for key, shape in shapes.items() if found.get(key, shape) != shape]
    }


def listed(problems: Mapping[str, Sequence[str]]) -> str:
    """A line for each kind of :func:`differences` that there is; empty if there is none."""
    return '\n  '.join(f'{len(keys)} {kind}: {_listed(keys)}' for kind, keys in problems.items() if keys)


def _text(shape: Union[torch.Size, str]) -> str:
    return shape if isinstance(shape, str) else 'x'.join(map(str, shape)) or 'scalar'


def _listed(keys: Sequence[str]) -> str:
    return ', '.join(keys[:MAX_LISTED]) + (', ...' if len(keys) > MAX_LISTED else '')


def _rename(entries: Mapping[str, Any], prefixes: Mapping[str, str]) -> Dict[str, Any]:
    """Exchange the prefixes of the keys; every key has one of them."""
    return {prefixes[old] + key[len(old):]: value for key, value in entries.items()
            for old in prefixes if key.startswith(old)}


def _epoch(holder: Any) -> int:
    epoch = holder.get('epoch') if isinstance(holder, dict) else None
    return epoch if isinstance(epoch, int) else 0


def save_checkpoint(checkpoint: dict, path: Union[str, Path]) -> dict:
    """Write a checkpoint whole or not at all, and return it.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    with replacing(Path(path)) as temporary, open(temporary, 'wb') as file:
        torch.save(checkpoint, file)
    return checkpoint


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside ``path`` that takes its place if the block succeeds."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch.save raises the latter on a full disk.
        raise CheckpointError(f'cannot write {path}: {error}') from error
    finally:
        temporary.unlink(missing_ok=True)
