"""Configs compose by name, in few levels, and protect whoever sets hooks of his own."""

import ast
import copy
from pathlib import Path

import mmpose
import pytest
from list_configs import pose_configs, shipped_configs
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from mmpose.registry import HOOKS

ROOT = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob('*.py'))
NAMES = [str(path) for path in shipped_configs(ROOT)]
POSES = [str(path) for path in pose_configs(ROOT)]
LEVELS = 3


def bases(path: Path) -> list[Path]:
    """The files of this folder that a config names as its bases."""
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            named = ast.literal_eval(node.value)
            named = [named] if isinstance(named, str) else named
            return [path.parent / name for name in named if '::' not in name]
    return []


def levels(path: Path) -> int:
    """How many files one has to go up, at most."""
    return max((1 + levels(base) for base in bases(path)), default=0)


@pytest.mark.parametrize('name', FILES)
def test_it_has_at_most_three_levels(name):
    assert levels(ROOT / name) <= LEVELS


def by_position(source: str) -> list[str]:
    """Subscripts by a number or a slice."""
    subscripts = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Subscript)]
    return [ast.unparse(node) for node in subscripts if not isinstance(_literal(node.slice), str)]


def _literal(node: ast.expr) -> object:
    return node.value if isinstance(node, ast.Constant) else None


@pytest.mark.parametrize('name', FILES)
def test_nothing_is_taken_by_its_position(name):
    assert by_position((ROOT / name).read_text(encoding='utf-8')) == []


@pytest.mark.parametrize('text', ['_base_.train_pipeline[3:6]', '_base_.param_scheduler[0]', 'a[-1]', 'a[i]'])
def test_positions_are_found(text):
    assert by_position(f'x = codec["input_size"]\ny = {text}') == [text]


def test_no_name_hides_a_file_of_mmposes():
    """``metainfo=dict(from_file='configs/_base_/datasets/coco.py')`` is looked for in the working directory first."""
    theirs = Path(mmpose.__file__).parent / '.mim' / 'configs' / '_base_' / 'datasets'
    ours = {path.name for path in (ROOT / '_base_' / 'datasets').glob('*.py')}
    assert ours and not ours & {path.name for path in theirs.glob('*.py')}


@pytest.mark.parametrize('name', POSES)
def test_targets_are_encoded_as_outputs_are_decoded(name):
    model = Config.fromfile(ROOT / name).model
    encoders = [step.encoder for step in steps(Config.fromfile(ROOT / name).train_dataloader) if 'encoder' in step]
    decoder = model.head.get('head', model.head).get('decoder')
    if decoder is None:  # RTMO puts out places, and its encoder nothing but labels
        assert {encoder.type for encoder in encoders} == {'YOLOXPoseAnnotationProcessor'}
        return
    assert encoders and all(of_both_ways(encoder, model) == of_both_ways(decoder, model) for encoder in encoders)


def of_both_ways(codec, model) -> dict:
    """What encoding and decoding share. Maps may be enlarged before; the weights of a loss are for encoding alone."""
    own = {'background_weight', *(['heatmap_size'] if model.test_cfg.get('restore_heatmap_size') else [])}
    return {key: value for key, value in without_scope(codec).items() if key not in own}


def steps(node):
    """All dicts in nested dicts and lists."""
    if isinstance(node, dict):
        yield node
        node = node.values()
    for child in node if not isinstance(node, str) and hasattr(node, '__iter__') else ():
        yield from steps(child)


def without_scope(codec) -> dict:
    return {key: value for key, value in codec.items() if key != '_scope_'}


ORDER = [
    ['RuntimeInfoHook', 'VariablesHook', 'WorkDirHook', 'ReseedHook'],
    ['IterTimerHook', 'DistSamplerSeedHook', 'PoseVisualizationHook', 'BadCaseAnalysisHook', 'LearningHook'],
    ['OrphansHook', 'JointsHook', 'FloatHeadHook', 'SyncBuffersHook', 'CheckpointFitHook', 'KeepHeapHook'],
    ['LogHistoryHook', 'LoggerHook', 'ParamSchedulerHook', 'SafeCheckpointHook', 'FiniteLossHook'],
]
"""By priority, and by name in the file where that is equal."""


def called(config: Config) -> list[str]:
    """Types of the hooks that a runner of this config calls, in this order.

    Stock configs of MMPose name a SyncBuffersHook beside ours, which then runs twice to the same end.
    """
    Visualizer.get_instance('any')  # MMPose's hook asks for the last one
    runner = object.__new__(Runner)
    runner._hooks = []
    with DefaultScope.overwrite_default_scope(config.default_scope):
        runner.register_hooks(copy.deepcopy(dict(config.default_hooks)), copy.deepcopy(list(config.custom_hooks)))
    return [*dict.fromkeys(type(hook).__name__ for hook in runner.hooks)]


@pytest.fixture
def child(tmp_path):
    """A config beside whose base there are these lines."""

    def write(name: str, lines: str) -> Config:
        path = tmp_path / 'config.py'
        path.write_text(f'_base_ = [{str(ROOT / name)!r}]\n{lines}\n', encoding='utf-8')
        return Config.fromfile(path)

    return write


PLAIN = [n for n in POSES if not n.startswith('demo') and 'dual-teacher' not in n and '_demo-' not in n]


@pytest.mark.parametrize('name', PLAIN)
def test_hooks_are_called_in_their_order(name):
    assert [hook for hook in called(Config.fromfile(ROOT / name)) if hook != 'ChannelsLastHook'] == sum(ORDER, [])


@pytest.mark.parametrize('name', [name for name in NAMES if name not in POSES])
def test_a_detector_has_the_same_hooks_but_those_of_poses(name):
    of_poses = {'PoseVisualizationHook', 'BadCaseAnalysisHook', 'JointsHook', 'FloatHeadHook'}
    found = called(Config.fromfile(ROOT / name))
    assert [hook for hook in found if hook not in ('DetVisualizationHook', 'ChannelsLastHook')] == [
        hook for hook in sum(ORDER, []) if hook not in of_poses
    ]


@pytest.mark.parametrize('name', NAMES)
def test_hooks_of_ones_own_take_none_away(name, child):
    own = child(name, "custom_hooks = [dict(type='EMAHook')]")
    before = [hook for hook in called(Config.fromfile(ROOT / name)) if hook != 'InitialValHook']
    assert [hook for hook in called(own) if hook != 'EMAHook'] == before and called(own).count('EMAHook') == 1
    if 'dual-teacher' in name:
        assert called(own).index('MomentumTeacherHook') < called(own).index('SafeCheckpointHook')


def test_one_of_them_may_be_left_out(child):
    config = child(POSES[0], "_base_.default_hooks.pop('finite_loss')")
    assert set(sum(ORDER, [])) - set(called(config)) == {'FiniteLossHook'}


def test_all_of_ours_that_protect_are_there():
    ours = {name for name, cls in HOOKS.module_dict.items() if cls.__module__.startswith('exlpose_mm')}
    assert ours - set(sum(ORDER, [])) == {'ChannelsLastHook', 'InitialValHook', 'MomentumTeacherHook'}


@pytest.mark.parametrize('name', NAMES)
def test_parameters_are_updated_in_few_groups(name):
    """MMEngine's own constructor makes a group for each, which costs a GPU's host more than the update."""
    wrapper = Config.fromfile(ROOT / name).optim_wrapper
    theirs = 'ForceDefaultOptimWrapperConstructor'  # MMPose's, with rules of its own for RTMO
    assert not wrapper.get('paramwise_cfg') or wrapper.constructor in ('GroupedOptimWrapperConstructor', theirs)
