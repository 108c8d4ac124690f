"""What `pip install .` carries: looked at in a wheel, and run out of it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from exlpose_mm.engine.zoo import PACKAGES

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    building = pytest.importorskip('hatchling.builders.wheel', reason='what builds the wheel is not installed')
    folder = tmp_path_factory.mktemp('wheel')
    return next(building.WheelBuilder(str(ROOT)).build(directory=str(folder), versions=['standard']))


@pytest.fixture(scope='module')
def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_has_the_shipped_models_and_their_card(names):
    files = [f'{name}{suffix}' for name in PACKAGES for suffix in ('.py', '.safetensors')]
    assert {f'exlpose_mm/zoo/{file}' for file in (*files, 'README.md')} <= names


def test_it_has_every_config_and_every_tool_of_users(names):
    files = [*ROOT.glob('configs/**/*.py'), *ROOT.glob('configs/**/*.yml'), *ROOT.glob('tools/*.*')]
    wanted = {f'exlpose_mm/.mim/{path.relative_to(ROOT).as_posix()}' for path in files}
    assert len(wanted) > 60 and wanted - names == set()
    assert [name for name in names if '/dev/' in name] == []


def test_the_shipped_model_runs_out_of_it(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / 'site')
    code = """
import sys
import numpy as np
from exlpose_mm.apis.inference import find_poses, load_model, whole_image
from exlpose_mm.engine.zoo import WEIGHTS
assert WEIGHTS.startswith(sys.argv[1]), WEIGHTS
frame = np.random.default_rng(0).integers(0, 4, (90, 80, 3), np.uint8)
print(find_poses(load_model(), frame, whole_image(frame, '')).pred_instances.keypoints.shape)
"""
    site = str(tmp_path / 'site')
    path = os.pathsep.join([site, os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-c', code, site],
        capture_output=True,
        encoding='utf-8',
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': path},
    )
    assert done.returncode == 0, done.stderr
    assert '(1, 14, 2)' in done.stdout
