"""Every shipped config: built, and run for one real step through its own pipelines."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.runner import Runner
from mmpose.registry import DATASETS, MODELS

from conftest import coco_file, person_annotation
from exlpose_mm.lighting import LIGHTINGS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted(path.relative_to(ROOT / 'configs') for path in (ROOT / 'configs').rglob('*.py')
                 if '_base_' not in path.parts)
NAMES = [str(path) for path in CONFIGS]
LL_ROWS = ['LL-N', 'LL-H', 'LL-E', 'LL-A']


def without_downloads(config):
    """Remove every ``init_cfg``, so that building a model needs no network."""
    if isinstance(config, dict):
        config.pop('init_cfg', None)
        config = config.values()
    if not isinstance(config, str) and hasattr(config, '__iter__'):
        for value in config:
            without_downloads(value)


def load(name: str, data_root: Path, monkeypatch) -> Config:
    """A shipped config on another data root, in this process and without downloads."""
    monkeypatch.setenv('DATA_ROOT', str(data_root))
    config = Config.fromfile(ROOT / 'configs' / name)
    without_downloads(config.model)
    return config


@pytest.fixture
def lspet_root(tmp_path) -> Path:
    """Two well-lit images of one person each, as training and as test data."""
    root = tmp_path / 'lspet14'
    for folder in ('annotations', 'images'):
        (root / folder).mkdir(parents=True)
    scenes = []
    for i in (1, 2):
        image = np.random.default_rng(i).integers(0, 200, (96, 128, 3), np.uint8)
        cv2.imwrite(str(root / 'images' / f'im{i:05d}.jpg'), image)
        scenes.append((i, f'im{i:05d}.jpg', [person_annotation(i, i, (40, 10, 34, 74))]))
    for split in ('train', 'val'):
        (root / 'annotations' / f'lspet14_{split}.json').write_text(json.dumps(coco_file(scenes)))
    return root


@pytest.fixture
def config(request, monkeypatch):
    data = 'lspet_root' if request.param.startswith('lspet') else 'exlpose_root'
    return load(request.param, request.getfixturevalue(data), monkeypatch)


def test_names_are_unique():
    assert len({path.name for path in CONFIGS}) == len(CONFIGS) > 0


@pytest.mark.parametrize('config', NAMES, indirect=True)
def test_one_step_of_training_and_testing(config):
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(config.model)
    step_of_training(model, config)
    step_of_testing(model, config)


def step_of_training(model, config) -> None:
    """Every trained parameter gets a gradient and the losses are finite."""
    dataset = DATASETS.build(config.train_dataloader.dataset)
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    model.train()
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)
    losses = model(**batch, mode='loss')
    total, scalars = model.parse_losses(losses)
    assert {name for name, value in scalars.items() if not torch.isfinite(value)} == set()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = next(iter(trained.values())).detach().clone()

    optimizer.backward(total)
    assert [name for name, p in trained.items() if p.grad is None] == []
    assert [name for name, p in trained.items() if not p.grad.isfinite().all()] == []
    optimizer.step()
    assert not torch.equal(before, next(iter(trained.values())))


def step_of_testing(model, config) -> None:
    """The first and the last test sample, one in low light and one well lit, are predicted."""
    dataset = DATASETS.build(config.val_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[len(dataset) - 1]])
    assert [sample.lighting for sample in batch['data_samples']] == list(LIGHTINGS)
    model.eval()
    for sample in model.val_step(batch):
        assert sample.pred_instances.keypoints.shape == (1, 14, 2)
        assert np.isfinite(sample.pred_instances.keypoints).all()
        assert np.isfinite(sample.pred_instances.keypoint_scores).all()


@pytest.mark.parametrize('name, data', [
    ('exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py', 'exlpose_root'),
    ('lspet/exlpose_mobilenetv2_1xb32-5e_lspet-128x96.py', 'lspet_root'),
])
def test_a_full_pass_of_the_evaluator(name, data, request, monkeypatch):
    config = load(name, request.getfixturevalue(data), monkeypatch)
    config.val_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(config.val_dataloader)
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    model = MODELS.build(config.model).eval()
    for batch in loader:
        evaluator.process(model.val_step(batch), batch)
    metrics = evaluator.evaluate(len(loader.dataset))
    assert {f'{row}/AP' for row in (*LL_ROWS, 'WL')} <= set(metrics)
    assert all(0 <= metrics[f'{row}/AP'] <= 1 for row in (*LL_ROWS, 'WL'))
    assert config.default_hooks.checkpoint.save_best in metrics


@pytest.mark.parametrize('config', [n for n in NAMES if Path(n).name.startswith('exlpose_')],
                         indirect=True)
def test_a_config_called_exlpose_has_both_parts_of_the_method(config):
    assert config.model.backbone.norm_cfg.type == 'LSBN2d'
    assert config.model.head.well_lit_teacher.loss.type == 'GramLoss'


@pytest.mark.parametrize('config', [
    'exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py',
    'exlpose/exlpose_rtmpose-m_1xb32-32e_exlpose-256x192.py',
], indirect=True)
def test_the_copy_that_a_run_writes_to_its_work_dir_is_the_config(config):
    assert Config.fromstring(config.pretty_text, '.py')._cfg_dict == config._cfg_dict
