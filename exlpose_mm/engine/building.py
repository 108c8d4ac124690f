"""Models and data sets of configs, without downloads."""

from collections.abc import Callable
from typing import Any

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hub import get_config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpose.registry import DATASETS, MODELS


def read_config(name: str) -> Config:
    """A config by its path, or one of an OpenMMLab package by its name and its path below ``configs/``.

    Args:
        name (str): As ``'configs/demo/exlpose.py'`` or ``'mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py'``.
    """
    return get_config(name) if '::' in name else Config.fromfile(name)


def strip_init_cfg(config: dict | list | tuple) -> None:
    """Remove every ``init_cfg`` in a model's config, so that building it needs no network.

    Args:
        config (dict | list | tuple): Changed in place, with all that is nested in it.
    """
    if isinstance(config, dict):
        config.pop('init_cfg', None)
    for value in config.values() if isinstance(config, dict) else config:
        if isinstance(value, (dict, list, tuple)):
            strip_init_cfg(value)


def build_model(config: dict, scope: str = 'mmpose') -> BaseModel:
    """A model with random weights, which needs no download.

    Args:
        config (dict): Is not changed.
        scope (str): Whose names it uses: ``'mmpose'``, or ``'mmdet'`` for a detector.
    """
    config = Config(dict(model=config)).model
    strip_init_cfg(config)
    with DefaultScope.overwrite_default_scope(scope):
        return MODELS.build(config)


def build_dataset(config: Config, **pack: Any) -> BaseDataset:
    """The config's training data.

    Args:
        config (Config): Is not changed.
        **pack: Further arguments of every ``PackPairedInputs`` in it.
    """
    dataset = change_dicts(
        config.train_dataloader.dataset.to_dict(), lambda d: {**d, **pack} if d.get('type') == 'PackPairedInputs' else d
    )
    with DefaultScope.overwrite_default_scope('mmpose'):
        return DATASETS.build(dataset)


def whole_members(dataset: dict) -> list[dict]:
    """Configs of the members of a ``CombinedDataset``'s config, or of any other alone, each with its whole pipeline."""
    following = dataset.get('pipeline', []) if 'datasets' in dataset else []
    return [
        dict(member, pipeline=[*member.get('pipeline', []), *following])
        for member in dataset.get('datasets', [dataset])
    ]


def naming_joints(dataset: dict) -> dict:
    """The part of a data set's config by which MMPose knows its joints: of several data sets, the first.

    A ``CombinedDataset`` has a ``metainfo`` of its own.
    """
    return dataset['datasets'][0] if 'datasets' in dataset and 'metainfo' not in dataset else dataset


def build_uncached(config: Config, part: str = 'train') -> list:
    """The data sets of one of the config's loaders, each with its whole pipeline, without a crop cache.

    Args:
        config (Config): Is not changed.
        part (str): ``'train'``, ``'val'`` or ``'test'``; members of a ``CombinedDataset`` come one by one.
    """
    members = whole_members(config[f'{part}_dataloader'].dataset.to_dict())
    with DefaultScope.overwrite_default_scope('mmpose'):
        return [
            DATASETS.build({key: value for key, value in member.items() if key != 'crop_cache'}) for member in members
        ]


def change_dicts(node: Any, change: Callable[[dict], dict]) -> Any:
    """A copy of nested dicts and lists with each dict changed."""
    if isinstance(node, dict):
        return change({key: change_dicts(value, change) for key, value in node.items()})
    if isinstance(node, (list, tuple)):
        return type(node)(change_dicts(value, change) for value in node)
    return node
