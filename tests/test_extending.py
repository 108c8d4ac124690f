"""The examples of docs/extending.md, run as they stand there."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import coco_file, person_annotation
from mmpose.registry import DATASETS, MODELS, TRANSFORMS
from test_estimators import model_cfg, pairs
from test_transforms import image

from exlpose_mm.datasets.recipes import own_pairs
from exlpose_mm.lighting import lsbn_layers

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'docs' / 'extending.md').read_text(encoding='utf-8')


@pytest.fixture
def example(request):
    """The names that the code below a heading defines."""
    code = re.search(rf'## {request.param}\n.*?```python\n(.*?)```', TEXT, re.S)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    names = {}
    registries = (DATASETS, MODELS, TRANSFORMS)
    before = [set(registry.module_dict) for registry in registries]
    exec(compile(code, request.param, 'exec'), names)
    yield names
    for registry, known in zip(registries, before):
        for name in set(registry.module_dict) - known:
            registry.module_dict.pop(name)


def test_pairs_of_other_joints(exlpose_root):
    names = [sorted(p.name for p in (exlpose_root / 'ExLPose' / side).iterdir())[0] for side in ('dark', 'bright')]
    for side, name, new in zip(('dark', 'bright'), names, ('night.png', 'noon.png')):
        (exlpose_root / 'ExLPose' / side / name).rename(exlpose_root / 'ExLPose' / side / new)
    content = coco_file([(1, 'dark/night.png', [person_annotation(1, 1, (8, 10, 34, 74))])])
    content['annotations'][0]['keypoints'] += 3 * [20.0, 20.0, 2]
    (exlpose_root / 'Annotations' / 'train.json').write_text(json.dumps(content), encoding='utf-8')
    (exlpose_root / 'pairs.txt').write_text('bright/noon.png dark/night.png\n', encoding='utf-8')
    coco = dict(from_file='configs/_base_/datasets/coco.py')
    _, train, *_ = own_pairs(str(exlpose_root), 'train.json', 'train.json', metainfo=coco, pair_file='pairs.txt')
    dataset = DATASETS.build(dict(type='ExLPoseDataset', **train['dataset']))
    assert len(dataset) == 1 and dataset[0]['keypoints'].shape == (1, 17, 2)
    assert Path(dataset[0]['well_lit_path']).name == 'noon.png'


@pytest.mark.parametrize('example', ['Your own backbone'], indirect=True)
def test_backbone(example):
    cfg = model_cfg(backbone=example['backbone'])
    cfg['head']['well_lit_teacher']['taps'] = example['taps']
    cfg['head']['head'].update(deconv_out_channels=(8, 8), deconv_kernel_sizes=(4, 4))
    model = MODELS.build(cfg)
    assert len(lsbn_layers(model)) == 4
    losses = model(**model.data_preprocessor(pairs(), True), mode='loss')
    assert len(losses['loss_gram']) == 3 and all(loss > 0 for loss in losses['loss_gram'])


@pytest.mark.parametrize('example', ['Another teacher'], indirect=True)
def test_teacher(example):
    cfg = model_cfg()
    teacher = example['model']['head']['well_lit_teacher']
    assert teacher.pop('_delete_'), 'the base has other taps and another loss'
    cfg['head']['well_lit_teacher'] = teacher
    model = MODELS.build(cfg)
    losses = model(**model.data_preprocessor(pairs(), True), mode='loss')
    assert len(losses['loss_feature']) == 3 and all(loss > 0 for loss in losses['loss_feature'])


@pytest.mark.parametrize('example', ['A denoiser'], indirect=True)
def test_denoiser(example):
    cfg = model_cfg()
    cfg['backbone'].update(example['model']['backbone'])
    cfg['head']['well_lit_teacher'] = example['model']['head']['well_lit_teacher']
    assert cfg['head']['well_lit_teacher'].pop('_delete_'), 'the base has other taps and another loss'
    model = MODELS.build(cfg)
    losses = model(**model.data_preprocessor(pairs(), True), mode='loss')
    assert len(losses['loss_feature']) == 6 and all(loss > 0 for loss in losses['loss_feature'])


@pytest.mark.parametrize('example', ['Your own camera'], indirect=True)
def test_camera(example):
    camera = TRANSFORMS.build(example['pipeline'][1])
    dark, lit = camera.transform(dict(img=np.full((90, 120, 3), 255, np.uint8)))['img']
    assert dark.dtype == np.uint8 and dark.mean() == pytest.approx(2, abs=0.05) and lit.mean() == 255
    assert dark.var() == pytest.approx(2, abs=0.1)
    assert camera.transform(dict(img=image(high=9)))['lighting'] == ('low_light', 'well_lit')


@pytest.mark.parametrize('name', [path.stem for path in (ROOT / 'configs' / 'examples').glob('*.py')])
def test_the_table_knows_each_example(name):
    assert re.search(rf'\[`{name}.py`\]\(../configs/examples/{name}.py\)', TEXT)


@pytest.mark.parametrize('example', ["Without MMPose's runner"], indirect=True)
def test_plain_loop(example):
    torch.manual_seed(0)
    assert torch.isfinite(example['loss'])
    low, well = example['net'][1].bns
    assert not torch.equal(low.running_mean, well.running_mean)
    assert set(example['features']) == {'low_light', 'well_lit'}
