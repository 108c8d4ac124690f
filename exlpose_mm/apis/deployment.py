"""One lighting's network as a plain MMPose model, for places that know nothing of lightings."""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmpose.apis.inference import dataset_meta_from_config
from torch import Tensor

from exlpose_mm.engine.building import build_model, change_dicts
from exlpose_mm.engine.checkpoints import (
    CheckpointError,
    check_names,
    differences,
    listed,
    load_weights,
    save_checkpoint,
)
from exlpose_mm.engine.fitting import TRAINING_ONLY
from exlpose_mm.lighting import LIGHTINGS, check_lighting

DENOISER = 'backbone.denoiser.'


def deploy(config: Config, checkpoint: str | Path, folder: str | Path, name: str = 'low_light') -> tuple[Path, Path]:
    """Write a plain model of one lighting: ``config.py`` and ``model.pth``.

    Its network is stock MMPose's ``TopdownPoseEstimator`` with ordinary batch norms, and gives the same predictions.
    A backbone with a denoiser keeps it for low light. Its test pipeline is this package's still: a dark image has to
    be scaled, and each image is taken to be of this lighting.

    Args:
        config (Config): Of a :class:`~exlpose_mm.LightingPoseEstimator`.
        checkpoint (str | Path): Of that config.
        folder (str | Path): Where to; made if missing.
        name (str): The lighting.

    Returns:
        tuple[Path, Path]: The config and the checkpoint.

    Raises:
        ValueError: If the lighting is unknown or the config has another model.
        CheckpointError: If the checkpoint cannot be read or is of another model.
    """
    plain = plain_config(config, name)
    state_dict = plain_state_dict(load_weights(checkpoint), name)
    shapes = {key: value.shape for key, value in build_model(plain.model).state_dict().items()}
    check_names(state_dict, shapes, checkpoint)
    problems = listed(differences(state_dict, shapes))
    if problems:
        raise CheckpointError(
            f'{checkpoint} is not of the model of this config; use the config it was trained with:\n  {problems}'
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plain.dump(folder / 'config.py')
    meta = dict(dataset_meta=dataset_meta_from_config(config, 'train'))
    save_checkpoint(dict(meta=meta, state_dict=state_dict), folder / 'model.pth')
    return folder / 'config.py', folder / 'model.pth'


def plain_config(config: Config, name: str = 'low_light') -> Config:
    """The config of one lighting's network for testing, without what only training needs.

    Raises:
        ValueError: If the lighting is unknown, or the model is no ``LightingPoseEstimator``.
    """
    check_lighting(name)
    if config.model.type != 'LightingPoseEstimator':
        raise ValueError(f'only a LightingPoseEstimator has to be made plain, this is a {config.model.type}')
    plain = {
        key: value
        for key, value in config.to_dict().items()
        if not key.startswith(('train_', 'val_', 'optim_', 'param_', 'auto_scale'))
        and key not in ('custom_hooks', '_base_')
    }
    model = plain['model']
    plain['model'] = _without_lsbn(
        {
            **{key: value for key, value in model.items() if key not in ('train_cfg', 'frozen', 'separate_passes')},
            'type': 'TopdownPoseEstimator',
            'data_preprocessor': model['data_preprocessor'][name],
            'backbone': _of_lighting(model['backbone'], name),
            'head': predicting_head(model),
        }
    )
    plain['default_hooks'] = {
        key: hook
        for key, hook in plain.get('default_hooks', {}).items()
        if key != 'checkpoint' and hook['type'] != 'MomentumTeacherHook'
    }
    plain['test_dataloader'] = force_lighting(plain['test_dataloader'], name)
    return Config(plain)


def _of_lighting(backbone: dict, name: str) -> dict:
    """The config of a backbone as it is in one lighting; of one with a denoiser only low light has that."""
    if backbone['type'] != 'DenoisedBackbone':
        return backbone
    if name == 'low_light':
        return dict(backbone, denoiser=dict(backbone.get('denoiser', {}), lighting=name))
    stock = {key: value for key, value in backbone.items() if key not in ('backbone', 'denoiser')}
    return dict(stock, type=backbone['backbone'])


def predicting_head(model: dict) -> dict:
    """The config of a model's head, without the ``DualTeacherHead`` around it, if there is one."""
    head = model['head']
    return head['head'] if head['type'] == 'DualTeacherHead' else head


def plain_state_dict(state_dict: dict[str, Tensor], name: str = 'low_light') -> dict[str, Tensor]:
    """The entries of one lighting's network, without LSBN and what only training needs; a plain model's as they are."""
    kept, other = (f'.bns.{i}.' for i in sorted(range(len(LIGHTINGS)), key=lambda i: LIGHTINGS[i] != name))
    needless = TRAINING_ONLY if name == 'low_light' else (*TRAINING_ONLY, DENOISER)
    return {
        key.replace(kept, '.'): value
        for key, value in state_dict.items()
        if other not in key and not key.startswith(needless)
    }


def _without_lsbn(node: Any) -> Any:
    return change_dicts(node, lambda d: dict(d, type='BN') if d.get('type') == 'LSBN2d' else d)


def force_lighting(node: Any, name: str) -> Any:
    """A copy of a config in which every ``TagLighting`` gives this lighting."""
    return change_dicts(node, lambda d: dict(d, lighting=name) if d.get('type') == 'TagLighting' else d)
