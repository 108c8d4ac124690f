"""The comparison of docs/results.md as a whole, in small."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from exlpose_mm.engine.building import build_model

ROOT = Path(__file__).resolve().parents[2]
BOX = ROOT / 'configs/dark-lspet/exlpose-features-adapted_mobilenetv2_1xb32-6e_dark-lspet-256x192.py'


@pytest.fixture(scope='module')
def study(data_dir, tmp_path_factory):
    """Run it on six people, and return its exit status, what it printed and its folder of results."""
    folder = tmp_path_factory.mktemp('study')
    weights = folder / 'start'
    weights.mkdir()
    model = build_model(Config.fromfile(BOX).model)
    torch.save(dict(state_dict=model.state_dict()), weights / 'exlpose-features.pth')
    torch.save(dict(state_dict=model.backbone.state_dict()), folder / 'backbone.pth')

    def run(*arguments, **variables):
        out = folder / variables['SEEDS']
        env = dict(os.environ, LSPET14=str(data_dir / 'lspet14'), PYTHON=sys.executable, OUT=str(out))
        env.update(SCRATCH=str(folder / 'scratch'), PRETRAINED=str(folder / 'backbone.pth'), FROM=str(weights))
        env.update(dict(PEOPLE='6', EPOCHS='1', BATCH='2', WORKERS='1'), **variables)
        command = ['bash', ROOT / 'tools/dev/study.sh', *arguments]
        done = subprocess.run(command, capture_output=True, encoding='utf-8', env=env, cwd=folder)
        return done.returncode, done.stdout + done.stderr, out

    return run


def test_a_row_is_trained_tested_and_published(study):
    status, text, out = study(SEEDS='0', ROWS='exlpose-features')
    assert status == 0, text
    assert '| LL-A |' in (out / 'exlpose-features-0.md').read_text(encoding='utf-8')
    assert (out / 'exlpose-features-0.safetensors').stat().st_size > 1e6
    assert not (out / 'failed.txt').exists() and 's: exlpose-features, seed 0' in text


def test_a_row_that_fails_is_told(study):
    status, text, out = study(SEEDS='1', ROWS='baseline-all')
    assert status == 1
    assert 'failed: baseline-all, seed 1' in (out / 'failed.txt').read_text(encoding='utf-8')
    assert 'baseline-all.pth' in (out / 'baseline-all-1.log').read_text(encoding='utf-8')


def test_configs_from_imagenet_are_those_of_its_size(study, tmp_path):
    status, text, _ = study('prepare', SEEDS='2', FROM='', EPOCHS='30', SCRATCH=str(tmp_path))
    assert status == 0, text
    for path in (tmp_path / 'configs').iterdir():
        config = Config.fromfile(path)
        assert config.codec.input_size == (192, 256) and config.train_cfg.max_epochs == 30
        assert not config.get('load_from') and config.optim_wrapper.optimizer.lr == 2e-3
    assert len(list((tmp_path / 'configs').iterdir())) == 6
