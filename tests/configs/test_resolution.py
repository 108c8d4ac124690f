"""Every published row keeps its meaning: each config resolves to what it resolved to when its row was made.

``resolved.json`` holds each distinct part once, and which of them a config has. Variables that only help to write a
config are not in it; hooks are one set, whatever their names.
"""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from exlpose_mm.engine.variables import READ

ROOT = Path(__file__).resolve().parents[2] / 'configs'
FROZEN = json.loads((Path(__file__).parent / 'resolved.json').read_text(encoding='utf-8'))
NAMED = {'data_root', 'data_mode', 'dataset_type', 'codec', 'pretrained'}
"""Variables that the package's tools and MMPose's inferencer read."""
CHANGED: dict[str, set[str]] = {}
"""Config to the parts that were changed on purpose; the CHANGELOG says why."""


def plain(node):
    """As JSON has it, without the scope that inheriting from MMPose's files leaves behind."""
    if isinstance(node, dict):
        return {str(key): plain(value) for key, value in node.items() if key != '_scope_'}
    return [plain(child) for child in node] if isinstance(node, (list, tuple)) else node


def resolved(name: str) -> dict:
    config = Config.fromfile(ROOT / name).to_dict()
    parts = plain({key: value for key, value in config.items() if key in READ | NAMED})
    parts['optim_wrapper'].pop('constructor', None)  # how parameters are grouped changes no update
    hooks = [*parts.pop('default_hooks').values(), *parts.pop('custom_hooks')]
    return dict(parts, hooks=sorted(hooks, key=lambda hook: json.dumps(hook, sort_keys=True)))


def scaled_by_a_step(node):
    """``CPNCrop(low_light_mean=...)`` as it is written now: a ``ScaleToMean`` before the crop, of the same pixels."""
    if isinstance(node, dict):
        return {key: scaled_by_a_step(value) for key, value in node.items()}
    if not isinstance(node, list):
        return node
    steps = []
    for step in map(scaled_by_a_step, node):
        mean = step.pop('low_light_mean', None) if isinstance(step, dict) else None
        if mean is not None:
            assert mean == 0.4, 'the default of ScaleToMean'
            crop = {key: value for key, value in step.items() if key != 'scale_range'}
            scale = dict(type='ScaleToMean', crop=crop)
            steps.append(dict(type='OnLighting', lighting='low_light', transforms=[scale]))
        steps.append(step)
    return steps


def frozen(name: str) -> dict:
    parts = {key: scaled_by_a_step(FROZEN['parts'][index]) for key, index in FROZEN['configs'][name].items()}
    return dict(parts, hooks=[json.loads(hook) for hook in parts['hooks']])


@pytest.mark.parametrize('name', FROZEN['configs'])
def test_a_published_row_resolves_as_before(name):
    now, before = resolved(name), frozen(name)
    assert {key for key in {*now, *before} if now.get(key, key) != before.get(key)} == CHANGED.get(name, set())
