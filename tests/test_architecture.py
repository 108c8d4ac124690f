"""The house: public names, who may import whom, lint."""

import subprocess
import sys
from pathlib import Path

import pytest

import exlpose_mm

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = [
    'AEHead', 'AEHeatmap', 'AddMomentumView', 'AntiAlias', 'BFloat16OptimWrapper', 'CPNCrop', 'CPNHead', 'CPNHeatmap',
    'ChannelsLastHook', 'CheckpointFitHook', 'DarkenPeople', 'DenoisedBackbone', 'DomainAdversarialLoss',
    'DualTeacherHead', 'ELLA', 'ExLPoseDataset', 'ExLPoseOCNDataset', 'ExLPosePeopleDataset', 'FeatureLoss',
    'FiniteLossHook', 'FloatHeadHook', 'GammaDarken', 'GradientReversal', 'GramLoss',
    'GroupedOptimWrapperConstructor', 'HeatmapCrossEntropyLoss', 'InitialValHook', 'JointsHook', 'KeepHeapHook',
    'LIGHTINGS', 'LSBN2d', 'LearningHook', 'LightingBottomupPoseEstimator', 'LightingBoxMetric', 'LightingCocoMetric',
    'LightingDataPreprocessor', 'LightingDetDataPreprocessor', 'LightingDetector', 'LightingError',
    'LightingPoseEstimator', 'LightingVisualizer', 'LoadLabelledImage', 'LoadPairedImages', 'LogHistoryHook',
    'LowLightEnhance', 'MaskInvalidPeople', 'MomentumTeacherHook', 'MultiScaleBottomupPoseEstimator',
    'MultiScaleDEKRHead', 'OnLighting', 'OnStudent', 'OnViews', 'OrphansHook', 'PackPairedDetInputs',
    'PackPairedInputs', 'PairedRandomAffine', 'ReseedHook', 'RowsDataset', 'SafeCheckpointHook', 'ScaleToMean',
    'SeededBatchSampler', 'SimulateLowLight', 'SoftmaxHeatmap', 'TagLighting', 'ThinPhotons', 'UNetDenoiser',
    'VariablesHook', 'WorkDirHook', 'lighting', 'tap',
]  # fmt: skip
"""What users import. A name that goes breaks their code: say so in CHANGELOG.md."""


def test_public_names():
    assert sorted(exlpose_mm.__all__) == PUBLIC
    assert all(hasattr(exlpose_mm, name) for name in PUBLIC)


def test_who_may_import_whom(monkeypatch, capsys):
    linter = pytest.importorskip('importlinter.cli')
    monkeypatch.chdir(ROOT)
    assert linter.lint_imports(config_filename='pyproject.toml', no_cache=True) == 0, capsys.readouterr().out


@pytest.mark.parametrize('command', [('check',), ('format', '--check')])
def test_lint_and_format(command):
    pytest.importorskip('ruff')
    done = subprocess.run([sys.executable, '-m', 'ruff', *command, ROOT], capture_output=True, encoding='utf-8')
    assert done.returncode == 0, done.stdout


def test_tests_mirror_the_package():
    rooms = [path.parent.relative_to(ROOT / 'exlpose_mm') for path in (ROOT / 'exlpose_mm').rglob('__init__.py')]
    inner = {'models/heads', 'engine/hooks', 'evaluation/report'}  # tested with their room
    assert [room for room in rooms if not (ROOT / 'tests' / room).is_dir() and room.as_posix() not in inner] == []
