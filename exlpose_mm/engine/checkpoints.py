"""Checkpoints: read without running code from them, written whole or not at all.

A pickle runs code by naming a callable. What MMEngine writes into a checkpoint needs a dozen names, :data:`SAFE`;
importing this module lets MMEngine load local files and downloads with these names and no others, with
``weights_only=True`` where torch can be told of them (2.6 and later), by an unpickler of the same effect elsewhere.
"""

import codecs
import json
import os
import os.path as osp
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.utils import digit_version
from safetensors import SafetensorError
from safetensors.torch import safe_open, save

from exlpose_mm import writing

StateDict = dict[str, torch.Tensor]
MAX_LISTED = 10
SAFETENSORS = '.safetensors'
"""What files of the safetensors format end with: tensors alone, and no pickle."""
DATASET_META = 'dataset_meta'


class CheckpointError(ValueError):
    """A file is no checkpoint of the expected network, or cannot be read or written."""


class MissingCheckpointError(CheckpointError, FileNotFoundError):
    """There is no such file; MMEngine raises the latter of the two."""


def _statistic(owner: type, name: str) -> Callable:
    """``getattr``, which a checkpoint needs for the four statistics of a log, and may have for nothing else."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'it asks for {name!r} of {owner!r}')
    return getattr(owner, name)


def _rebuilder(value: Any) -> Callable:
    """What pickle calls to make such a value again."""
    return value.__reduce__()[0]


SAFE: dict[str, Callable] = {
    'builtins.getattr': _statistic,
    'mmengine.logging.history_buffer.HistoryBuffer': HistoryBuffer,
    'numpy.ndarray': np.ndarray,
    'numpy.dtype': np.dtype,
    **{
        f'numpy.{core}.multiarray.{function.__name__}': function
        for core in ('core', '_core')
        for function in (_rebuilder(np.zeros(0)), _rebuilder(np.float64()))
    },
    **{f'numpy.dtypes.{kind.__name__}': kind for kind in {type(np.dtype(code)) for code in '?bhilqBHILQefdSU'}},
}
"""What MMEngine's checkpoints name beside tensors and plain data: NumPy's arrays, and histories of log values."""
TENSORS: dict[str, Callable] = {
    'collections.OrderedDict': OrderedDict,
    'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
    'torch._utils._rebuild_parameter': torch._utils._rebuild_parameter,
}
"""What tensors and parameters name."""


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: Any = None) -> dict:
    """In place of MMEngine's function of this name, whose pickles may run code.

    Raises:
        MissingCheckpointError: If there is no such file.
        CheckpointError: If it is damaged, or holds more than tensors, plain data and what MMEngine writes.
    """
    filename = osp.expanduser(filename)
    if not osp.isfile(filename):
        raise MissingCheckpointError(f'the checkpoint {filename} can not be found')
    if filename.endswith(SAFETENSORS):
        return dict(state_dict=read_safetensors(filename, map_location or 'cpu'), meta=_meta(filename))
    with _explained(filename):
        archive = zipfile.is_zipfile(filename)
        if archive:
            _check_archive(filename)
        if digit_version(torch.__version__) >= digit_version('2.6'):
            with torch.serialization.safe_globals([(value, name) for name, value in SAFE.items()]):
                return torch.load(filename, map_location=map_location, weights_only=True)
        if archive:
            return torch.load(filename, map_location=map_location, pickle_module=SafePickle, weights_only=False)
        return torch.load(filename, map_location=map_location, weights_only=True)


@CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), force=True)
def load_from_http(filename: str, map_location: Any = None, model_dir: str | None = None) -> dict:
    """In place of MMEngine's function of this name: the download is read as a local file is.

    Raises:
        CheckpointError: As :func:`load_from_local`.
    """
    path = Path(model_dir or osp.join(torch.hub.get_dir(), 'checkpoints'), osp.basename(urlparse(filename).path))
    if is_main_process():
        _download(filename, path)
    barrier()
    _download(filename, path)  # for other machines
    return load_from_local(str(path), map_location)


def _download(address: str, path: Path) -> None:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(address, str(path), progress=os.isatty(0))


def load_weights(source: str | Path) -> StateDict:
    """The state dict of any checkpoint, whatever else is in it; see :class:`WeightsPickle`.

    Args:
        source (str | Path): Path, or URL of what MMEngine downloads once, which is read as any file that it loads.

    Raises:
        CheckpointError: If the file cannot be read or has no state dict. Names it.
    """
    if '://' in str(source):
        found = CheckpointLoader.load_checkpoint(str(source), map_location='cpu')
        return found.get('state_dict', found)
    if str(source).endswith(SAFETENSORS):
        return read_safetensors(source)
    return read_checkpoint(source, pickle_module=WeightsPickle, weights_only=False)['state_dict']


def read_safetensors(path: str | Path, device: str | torch.device = 'cpu') -> StateDict:
    """All tensors of a safetensors file, in the type that they are stored in.

    Raises:
        CheckpointError: If the file cannot be read or is not of that format. Names it.
    """
    try:
        with safe_open(path, framework='pt') as file:
            return {name: file.get_tensor(name).to(device) for name in file.keys()}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f'{path} is no safetensors file, or not all of it: {error}') from error


def _meta(path: str) -> dict:
    """What :func:`save_half` wrote beside the tensors."""
    with safe_open(path, framework='pt') as file:
        return {name: json.loads(text) for name, text in (file.metadata() or {}).items() if name == DATASET_META}


def save_half(state_dict: StateDict, path: str | Path, dataset_meta: dict | None = None) -> None:
    """Write a safetensors file, whole or not at all; numbers that are no integers become half precision.

    Args:
        state_dict (dict): The tensors.
        path (str | Path): Of the file.
        dataset_meta (dict, optional): Plain data that MMEngine reads of a checkpoint's ``meta``: a detector's classes.

    Raises:
        CheckpointError: If the file cannot be written, or a value is beyond half precision, which ends at 65504.
    """
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state_dict.items()}
    beyond = [name for name, value in halves.items() if not value.isfinite().all()]
    if beyond:
        raise CheckpointError(f'half precision ends at 65504, and these have values beyond it: {_listed(beyond)}')
    metadata = None if dataset_meta is None else {DATASET_META: json.dumps(dataset_meta)}
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(save(halves, metadata))  # `save_file` would keep others from reading it


def keep_weights(source: str | Path, target: str | Path) -> None:
    """Write a checkpoint of another's tensors alone, without running code from it.

    Raises:
        CheckpointError: As :func:`load_weights`, or if ``target`` cannot be written.
    """
    tensors = {key: value for key, value in load_weights(source).items() if isinstance(value, torch.Tensor)}
    save_checkpoint(dict(state_dict=tensors), target)


def read_checkpoint(path: str | Path, **kwargs: Any) -> dict:
    """``torch.load`` on the CPU of a file that ``torch.save`` wrote, with every failure as one error.

    Raises:
        CheckpointError: If the file cannot be read or has no state dict. Names it.
    """
    with _explained(path):
        _check_archive(path)
        checkpoint = torch.load(path, map_location='cpu', **kwargs)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get('state_dict'), dict):
        raise CheckpointError(f"{path} is no checkpoint: it has no 'state_dict'")
    return checkpoint


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (CheckpointError, torch.cuda.OutOfMemoryError):
        raise
    except OSError as error:
        raise CheckpointError(f'cannot read checkpoint {path}: {error.strerror}') from error
    except Exception as error:  # A damaged file can fail anywhere in the unpickler.
        raise CheckpointError(
            f'{path} is refused: it is damaged, or holds more than tensors, plain data and what MMEngine writes '
            f'({_reason(error)}). Its tensors alone can be had without running code from it: python -c "from '
            f"exlpose_mm.engine.checkpoints import keep_weights; keep_weights({str(path)!r}, 'weights.pth')\""
        ) from error


def _reason(error: Exception) -> str:
    """What torch found, without its advice."""
    lines = str(error).rpartition('WeightsUnpickler error:')[2].strip().splitlines()
    lines = [line.strip() for line in lines if line and not line.startswith('Weights only load failed')]
    return lines[0] if lines else type(error).__name__


class Placeholder:
    """Stands for an object that is no tensor; takes what pickle does to it and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> 'Placeholder':
        return super().__new__(cls)

    def _ignore(self, *args: Any) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = _ignore


class WeightsPickle:
    """The tensors and plain data of a checkpoint, as ``pickle_module`` of :func:`torch.load`.

    No name is looked up but those of :data:`TENSORS`; all else, harmless or not, becomes a :class:`Placeholder`.
    """

    class Unpickler(pickle.Unpickler):
        """Torch itself resolves storages."""

        def find_class(self, module: str, name: str) -> Any:
            return TENSORS.get(f'{module}.{name}', Placeholder)


class SafePickle:
    """Tensors, plain data and what MMEngine writes, as ``pickle_module`` of :func:`torch.load`."""

    ALLOWED = {**SAFE, **TENSORS, 'builtins.set': set, '_codecs.encode': codecs.encode, 'torch.Size': torch.Size}

    class Unpickler(pickle.Unpickler):
        """Torch itself resolves storages."""

        def find_class(self, module: str, name: str) -> Any:
            full = f'{module}.{name}'.replace('__builtin__.', 'builtins.')
            if full not in SafePickle.ALLOWED:
                raise pickle.UnpicklingError(f'it asks for {full}')
            return SafePickle.ALLOWED[full]


def _check_archive(path: str | Path) -> None:
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
            'be loaded and saved again'
        )


def differences(state_dict: Mapping[str, Any], shapes: Mapping[str, torch.Size]) -> dict[str, list[str]]:
    """Keys of a state dict that are ``unknown``, ``missing`` or ``of another shape`` (said in brackets)."""
    found = {
        key: value.shape if isinstance(value, torch.Tensor) else type(value).__name__
        for key, value in state_dict.items()
    }
    return {
        'unknown': [str(key) for key in found if key not in shapes],
        'missing': [key for key in shapes if key not in found],
        'of another shape': [
            f'{key} ({_text(found[key])}, not {_text(shape)})'
            for key, shape in shapes.items()
            if found.get(key, shape) != shape
        ],
    }


def check_names(state_dict: Iterable[str], shapes: Mapping[str, torch.Size], source: str | Path) -> None:
    """Refuse the state dict of a ``DualTeacherHead`` from before 0.3, where its weights had other names.

    Raises:
        CheckpointError: Names the source and the way out.
    """
    if any(key.startswith('head.head.') and key not in shapes for key in state_dict):
        raise CheckpointError(
            f'{source} was written by exlpose_mm 0.2 or before, which named the weights of a DualTeacherHead '
            'head.head.*; now they are head.*, as without it: rename its keys, or train anew'
        )


def listed(problems: Mapping[str, Sequence[str]]) -> str:
    """A line for each kind of :func:`differences` that there is; empty if there is none."""
    return '\n  '.join(f'{len(keys)} {kind}: {_listed(keys)}' for kind, keys in problems.items() if keys)


def _text(shape: torch.Size | str) -> str:
    return shape if isinstance(shape, str) else 'x'.join(map(str, shape)) or 'scalar'


def _listed(keys: Sequence[str]) -> str:
    return ', '.join(keys[:MAX_LISTED]) + (', ...' if len(keys) > MAX_LISTED else '')


def save_checkpoint(checkpoint: dict, path: str | Path) -> dict:
    """Write a checkpoint whole or not at all, and return it.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    with replacing(Path(path)) as temporary, open(temporary, 'wb') as file:
        torch.save(checkpoint, file)
    return checkpoint


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """As :func:`exlpose_mm.writing.replacing`, of a checkpoint.

    Raises:
        CheckpointError: If it cannot be written.
    """
    try:
        with writing.replacing(path) as temporary:
            yield temporary
    except (OSError, RuntimeError) as error:  # torch.save raises the latter on a full disk.
        raise CheckpointError(f'cannot write {path}: {error}') from error
