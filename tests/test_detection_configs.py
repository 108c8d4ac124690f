"""Every shipped config of a detector: built, and run for one real step through its own pipelines."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import coco_file, person_annotation
from list_configs import shipped_configs
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from test_configs import load, lspet_root, step_of_training  # noqa: F401 (a fixture)
from test_tools import mim

from exlpose_mm.apis.detection import load_detector
from exlpose_mm.lighting import LIGHTINGS, lsbn_layers
from exlpose_mm.models.detector import LightingDetection
from exlpose_mm.models.losses import GramLoss

ROOT = Path(__file__).resolve().parents[1]
NAMES = [str(path) for path in shipped_configs(ROOT / 'configs') if path.parts[0] == 'detection']
SMALL = 'detection/exlpose_rtmdet-small_1xb8-24e_demo-120x160.py'


ROOTS = {'_coco-': 'coco_root', '_lspet-': 'lspet_root'}
"""Of a config by its name; the others want ExLPose's layout."""


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture
def coco_root(tmp_path) -> Path:
    """Two well-lit images of one person each, as training and as test data; a car and a crowd in the first."""
    root = tmp_path / 'coco'
    (root / 'annotations').mkdir(parents=True)
    people = [person_annotation(i, i, (40, 10, 34, 74), area=2516.0) for i in (1, 2)]
    people.append(person_annotation(3, 1, (80, 10, 40, 60), area=2400.0, iscrowd=1))
    people.append(person_annotation(4, 1, (2, 10, 20, 20), area=400.0, category_id=3))
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        for i in (1, 2):
            image = np.random.default_rng(i).integers(0, 200, (96, 128, 3), np.uint8)
            cv2.imwrite(str(root / split / f'{i}.jpg'), image)
        content = coco_file([(i, f'{i}.jpg', [p for p in people if p['image_id'] == i]) for i in (1, 2)])
        content['categories'].append(dict(id=3, name='car'))
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content), encoding='utf-8')
    return root


@pytest.fixture
def config(request, monkeypatch) -> Config:
    """A shipped config whose images are small, so that a step takes no minute."""
    roots = [root for name, root in ROOTS.items() if name in request.param]
    root = request.getfixturevalue(roots[0] if roots else 'exlpose_root')
    return smaller(load(request.param, root, monkeypatch))


def smaller(node, size=(160, 128)):
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, (dict, list)):
            smaller(child, size)
    if isinstance(node, dict) and node.get('type') in ('Resize', 'RandomResize'):
        node.update(scale=size)
    if isinstance(node, dict) and node.get('type') == 'RandomCrop':
        node.update(crop_size=size)
    return node


@pytest.mark.parametrize('config', NAMES, indirect=True)
def test_one_step_of_training_and_testing(config, device):
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(config.model).to(device)
    step_of_training(model, config, DATASETS)
    step_of_testing(model, config)


def step_of_testing(model, config) -> None:
    """The first and the last test sample, one in low light and one well lit, are predicted."""
    dataset = DATASETS.build(config.val_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[len(dataset) - 1]])
    assert [sample.lighting for sample in batch['data_samples']] == list(LIGHTINGS)
    model.eval()
    for sample in model.val_step(batch):
        found = sample.pred_instances
        assert len(found.bboxes) == len(found.scores) and found.bboxes.shape[1:] == (4,)
        assert found.bboxes.isfinite().all() and (found.labels == 0).all()


@pytest.mark.parametrize('config', [n for n in NAMES if Path(n).name.startswith('exlpose_')], indirect=True)
def test_a_config_called_exlpose_has_both_parts_of_the_method(config):
    model = MODELS.build(config.model)
    assert isinstance(model, LightingDetection) and lsbn_layers(model.backbone)
    assert type(model.well_lit_teacher.loss_module) is GramLoss


@pytest.mark.parametrize('package', ['exlpose_mm', 'mmdet'])
def test_mim_trains_it(package, exlpose_root, tmp_path):
    options = [
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=1',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False',
    ]
    work_dir = tmp_path / 'work'
    arguments = ['train', package, str(ROOT / 'configs' / SMALL), '--gpus', '0', '--work-dir', str(work_dir)]
    log = mim(*arguments, '--cfg-options', *options, DATA_ROOT=str(exlpose_root))
    assert re.findall(r'^(LL-N|LL-H|LL-E|LL-A|WL) ', log, re.M) == ['LL-N', 'LL-H', 'LL-E', 'LL-A', 'WL']
    detector = load_detector(str(ROOT / 'configs' / SMALL), str(work_dir / 'epoch_1.pth'))
    assert tuple(detector.dataset_meta['classes']) == ('person',)


@pytest.mark.parametrize('config', [SMALL, NAMES[-1]], indirect=True)
def test_a_full_pass_of_the_evaluator(config):
    config.val_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(config.val_dataloader)
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    model = MODELS.build(config.model).eval()
    for batch in loader:
        evaluator.process(model.val_step(batch), batch)
    metrics = evaluator.evaluate(len(loader.dataset))
    assert {key.partition('/')[0] for key in metrics} == {'LL-N', 'LL-H', 'LL-E', 'LL-A', 'WL'}
    assert all(0 <= value <= 1 for value in metrics.values())
    assert config.default_hooks.checkpoint.save_best in metrics
