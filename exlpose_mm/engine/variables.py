"""What users say of a config from outside: where the data are, what the backbone starts from, how large its input is.

``--cfg-options data_root=DIR`` would change a variable that the config has used already, and so nothing. Here the
places are set that a variable is about, in any config: shipped, written to a work dir, deployed, or of stock MMPose.
"""

import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import DATASETS, HOOKS

from exlpose_mm.datasets.exlpose import ExLPoseDataset
from exlpose_mm.engine.building import change_dicts

VARIABLES = ('data_root', 'pretrained', 'crop_cache')
"""What may be said, as ``NAME=VALUE`` or by the environment variable of the name in capitals."""
SCALED = ('input_size', 'heatmap_size')
"""Sizes (w, h) that ``input_scale`` multiplies, wherever they stand in a config."""
FIXED = ('in_featuremap_size', 'img_size')
"""Sizes that the weights of a head or a backbone are for."""
STRIDE = 32
"""Pixels of the input for a cell of a backbone's last features."""
READ = {
    *inspect.signature(Runner.__init__).parameters,
    'preprocess_cfg',
    'model_wrapper_cfg',
    'sync_bn',
    'compile',
    'find_unused_parameters',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
}
"""Parts of a config that MMPose's scripts read. The others are variables, which the config has used when it is read."""


class ConfigError(ValueError):
    """An option would change nothing in a config, or it is not clear what."""


def variable(name: str, default: str) -> str:
    """What a config takes for one of :data:`VARIABLES`: its environment variable or, if that is not set or empty, the
    default.

    mmengine's own ``{{$DATA_ROOT:data}}`` puts the value into the config's text, which a path with an apostrophe or a
    backslash would break.
    """
    return os.environ.get(name.upper()) or default


def load_config(path: str, input_scale: str | float | None = None, **variables: str | None) -> Config:
    """Read a config, with the data root, the backbone's checkpoint and the input size that were asked for.

    Args:
        path (str): The file.
        input_scale (str | float, optional): Factor of the network's input and heatmaps, for tests at several scales;
            the joints' Gaussians, which are in cells, stay as they are.
        **variables: Of :data:`VARIABLES`: ``data_root``, the folder of all its data sets and metrics; ``pretrained``,
            path or URL of what the backbone starts from; ``crop_cache``, a file of ``tools/cache_crops.py`` for all
            its data sets. None, the default, is what the environment variable ``DATA_ROOT``, ``PRETRAINED`` or
            ``CROP_CACHE`` says or, if there is none, what the config does.

    Raises:
        ConfigError: If there is no such file, or the config has no such place, or several that differ, or its network
            takes no input of the scaled size.
    """
    known = {name: os.environ.get(name.upper()) or None for name in VARIABLES}
    known.update((name, value) for name, value in variables.items() if value is not None)
    wanted = {name: value for name, value in known.items() if value is not None}
    with patch.dict(os.environ, {name.upper(): value for name, value in wanted.items()}):
        if not os.path.isfile(path):
            raise ConfigError(f'no config {path}')
        config = Config.fromfile(path)
    for name, value in wanted.items():
        (_set_crop_cache if name == 'crop_cache' else _set)(config, name, value)
    if input_scale is not None:
        _scale_input(config, input_scale)
    return config


def take_variables(argv: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Take ``NAME=VALUE`` of :data:`VARIABLES` and ``input_scale`` out of a command line's ``--cfg-options``.

    Returns:
        tuple[list[str], dict[str, str]]: The remaining arguments, and the variables.

    Raises:
        ConfigError: If another option is of something that nothing reads.
    """
    rest, variables, inside = [], {}, False
    for argument in _split_options(argv):
        name, equals, value = argument.partition('=')
        inside = argument == '--cfg-options' or (inside and not argument.startswith('--'))
        if inside and equals and name in (*VARIABLES, 'input_scale'):
            variables[name] = value
            continue
        if inside and equals and name.partition('.')[0] not in READ:
            raise ConfigError(
                f'--cfg-options {argument} would change nothing: nothing reads '
                f'{name.partition(".")[0]!r}, which is misspelt, or a variable that the config has used '
                'already; set the places where its value is'
            )
        rest.append(argument)
    return _without_empty_options(rest), variables


def _split_options(argv: Iterable[str]) -> Iterator[str]:
    """``--cfg-options=A=B`` as two arguments."""
    for argument in argv:
        option, equals, value = argument.partition('=')
        yield from (option, value) if equals and option == '--cfg-options' else (argument,)


def _without_empty_options(argv: list[str]) -> list[str]:
    return [
        argument
        for argument, following in zip(argv, [*argv[1:], '--'])
        if argument != '--cfg-options' or not following.startswith('--')
    ]


def _set(config: Config, name: str, value: str) -> None:
    places = _PLACES[name](config)
    if places == {value}:  # the config has taken it from the environment
        return
    if len(places) != 1:
        found = f'{len(places)} that differ: {", ".join(sorted(places))}' if places else 'none'
        raise ConfigError(
            f'{config.filename}: {name}={value} would have to be put in place of one {_MEANT[name]}, but '
            f'there are {found}; set the places by their own names'
        )
    (old,) = places

    def change(text: str) -> str:
        if text == old:
            return value
        inside = text.startswith(f'{old.rstrip("/")}/') and name == 'data_root'
        rest = text[len(old.rstrip('/')) + 1 :]
        return os.path.join(value, rest) if inside else text

    for part in _parts(config, name):
        config[part] = _map(config[part], change)


def _set_crop_cache(config: Config, name: str, value: str) -> None:
    for part in _parts(config, name):
        config[part].dataset = _with_crop_cache(config[part].dataset.to_dict(), value)
    if value not in _crop_caches(config):
        raise ConfigError(f'{config.filename}: {name}={value} changes nothing, there is no ExLPoseDataset in it')


def _with_crop_cache(dataset: dict, file: str, following: Sequence[dict] = ()) -> dict:
    if 'datasets' in dataset:
        following = [*dataset.get('pipeline', []), *following]
        return dict(dataset, datasets=[_with_crop_cache(member, file, following) for member in dataset['datasets']])
    kind = DATASETS.get(dataset['type']) if isinstance(dataset['type'], str) else dataset['type']
    if kind is None or not issubclass(kind, ExLPoseDataset):
        return dataset
    return dict(dataset, crop_cache=dict(file=file, pipeline=following) if following else file)


def _scale_input(config: Config, scale: str | float) -> None:
    what = f'{config.filename}: input_scale={scale}'
    try:
        factor = float(scale)
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise ConfigError(f'{what} is no positive number')
    whole = config.to_dict()
    inputs = {tuple(value) for key, value in _items(whole) if key == 'input_size'}
    if not inputs:
        raise ConfigError(f'{what} changes nothing, there is no input_size in it')
    fixed = sorted({key for key, _ in _items(whole['model']) if key in FIXED})
    if fixed:
        raise ConfigError(f'{what}: its weights are for one input size, as {fixed[0]} says; train one for another size')
    wrong = [size for size in sorted(inputs) if any(side * factor % STRIDE for side in size)]
    if wrong:
        raise ConfigError(
            f'{what}: {" x ".join(f"{side * factor:g}" for side in wrong[0])} pixels are no multiples of {STRIDE}, as '
            f'backbones need; take another factor of its {wrong[0][0]} x {wrong[0][1]}'
        )
    for part, value in change_dicts(whole, lambda node: {key: _scaled(key, node[key], factor) for key in node}).items():
        config[part] = value


def _scaled(key: str, value: Any, factor: float) -> Any:
    return tuple(round(side * factor) for side in value) if key in SCALED else value


def _parts(config: Config, name: str) -> list[str]:
    if name == 'crop_cache':
        return [part for part in config if part.endswith('_dataloader') and config[part]]
    if name == 'pretrained':
        return [part for part in ('model', 'pretrained') if part in config]
    return [part for part in config if part.endswith(('_dataloader', '_evaluator', 'data_root'))]


def _data_roots(config: Config) -> set[str]:
    return {
        value
        for part in _parts(config, 'data_root')
        for key, value in _items(config[part])
        if key == 'data_root' and value is not None
    }


def _checkpoints(config: Config) -> set[str]:
    backbone = config.get('model', {}).get('backbone', {})
    return {value for key, value in _items(backbone) if key == 'checkpoint'}


def _crop_caches(config: Config) -> set[str]:
    found = [
        value for part in _parts(config, 'crop_cache') for key, value in _items(config[part]) if key == 'crop_cache'
    ]
    return {value['file'] if isinstance(value, dict) else value for value in found if value}


_PLACES: dict[str, Callable[[Config], set[str]]] = dict(
    data_root=_data_roots, pretrained=_checkpoints, crop_cache=_crop_caches
)
_MEANT = dict(data_root='data_root of data sets and metrics', pretrained='checkpoint in the init_cfg of its backbone')


def _items(node: Any) -> Iterator[tuple[str, Any]]:
    """Keys and values of nested dicts and lists."""
    if isinstance(node, dict):
        yield from node.items()
        node = node.values()
    for child in node if not isinstance(node, str) and isinstance(node, Iterable) else ():
        yield from _items(child)


def _is_used(value: str, name: str, config: Config) -> bool:
    texts = (text for part in _parts(config, name) if part != name for text in _strings(config[part]))
    return any(text == value or text.startswith(f'{value}/') for text in texts)


def _strings(node: Any) -> Iterator[str]:
    """All strings in nested dicts and lists, but keys."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, Iterable):
        for child in node.values() if isinstance(node, dict) else node:
            yield from _strings(child)


def _map(node: Any, change: Callable[[str], str]) -> Any:
    """A copy of nested dicts and lists with each string changed."""
    if isinstance(node, dict):
        return {key: _map(value, change) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return type(node)(_map(value, change) for value in node)
    return change(node) if isinstance(node, str) else node


@HOOKS.register_module()
class VariablesHook(Hook):
    """Refuses to run with a ``data_root`` or ``pretrained`` that was set when the config had used it already.

    That is what ``--cfg-options data_root=DIR`` of MMPose's own scripts does, and a config that says so in place of its
    base; the scripts of this package set the places that are meant.

    Raises:
        ConfigError: Before the first iteration.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        path, config = runner.cfg.filename, runner.cfg
        file = Config.fromfile(path) if path and os.path.isfile(path) else config
        if 'input_scale' in config:
            raise ConfigError(f'input_scale={config.input_scale} changes nothing here; use `mim test exlpose_mm`')
        for name in VARIABLES:
            value = config.get(name)
            # Where the variable is the file's own, its places may have been set one by one.
            if isinstance(value, str) and not _is_used(value, name, file if file.get(name) == value else config):
                raise ConfigError(f'{name}={value} changes nothing here: {_why_not(config, name)}')


def _why_not(config: Config, name: str) -> str:
    places = sorted(_PLACES[name](config))
    if not places:
        return f'the config has no {_MEANT.get(name, name)}; if that is meant, write `{name} = None` into it'
    return (
        f'the config has used another, {places}; use `mim train exlpose_mm` or `mim test exlpose_mm`, or set the '
        f'environment variable {name.upper()}'
    )
