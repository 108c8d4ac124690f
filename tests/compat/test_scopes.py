"""What this package registers has one name in configs of MMPose and of MMDetection."""

import mmdet.registry
import mmpose.registry
import pytest
from mmengine.registry import DefaultScope, Registry

from exlpose_mm.compat.scopes import share_with_mmdet

REGISTRIES = [
    name
    for name, value in vars(mmpose.registry).items()
    if isinstance(value, Registry) and hasattr(mmdet.registry, name)
]


@pytest.mark.parametrize('name', REGISTRIES)
def test_mmdetection_knows_what_mmpose_knows_of_ours(name):
    ours, theirs = (getattr(package, name) for package in (mmpose.registry, mmdet.registry))
    for key, module in ours.module_dict.items():
        if module.__module__.startswith('exlpose_mm.'):
            assert theirs.get(key) is module


def test_there_are_some_of_them():
    assert {'HOOKS', 'MODELS', 'TRANSFORMS', 'DATASETS', 'METRICS'} <= set(REGISTRIES)


def test_a_step_is_built_under_either_scope():
    for scope in ('mmpose', 'mmdet'):
        with DefaultScope.overwrite_default_scope(scope):
            assert mmpose.registry.TRANSFORMS.build(dict(type='ScaleToMean', mean=0.3)).mean == 0.3


def test_twice_is_once():
    before = dict(mmdet.registry.TRANSFORMS.module_dict)
    share_with_mmdet()
    assert mmdet.registry.TRANSFORMS.module_dict == before
