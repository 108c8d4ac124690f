"""Every shipped config: built, and run for one real step through its own pipelines."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import coco_file, fuses_on_a_cpu, person_annotation
from list_configs import pose_configs, shipped_configs
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.registry import FUNCTIONS
from mmengine.runner import Runner
from mmpose.registry import DATASETS, MODELS

from exlpose_mm.engine.building import strip_init_cfg
from exlpose_mm.engine.variables import load_config
from exlpose_mm.models.losses import GramLoss
from exlpose_mm.splits import lighting_of_row

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = shipped_configs(ROOT / 'configs')
NAMES = [str(path) for path in pose_configs(ROOT / 'configs')]
"""test_detection_configs.py has the others."""


def load(name: str, data_root: Path, monkeypatch) -> Config:
    """A shipped config on another data root, in this process and without downloads."""
    monkeypatch.setenv('DATA_ROOT', str(data_root))
    config = load_config(str(ROOT / 'configs' / name))
    strip_init_cfg(config.model)
    if config.get('data_mode') == 'bottomup':
        shrunk(config._cfg_dict)
    return config


def shrunk(node):
    """A config of whole images whose inputs and maps have a quarter of their sides, so that a CPU takes a step."""
    if isinstance(node, dict):
        for key, value in node.items():
            small = key in ('input_size', 'heatmap_size') and value[0] >= 128
            node[key] = tuple(side // 4 for side in value) if small else shrunk(value)
    elif isinstance(node, (list, tuple)):
        return type(node)(shrunk(child) for child in node)
    return node


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
        scenes.append((i, f'im{i:05d}.jpg', [person_annotation(i, i, (40, 10, 34, 74), area=2516.0)]))
    for split in ('train', 'train_more', 'train_all', 'val'):
        (root / 'annotations' / f'lspet14_{split}.json').write_text(json.dumps(coco_file(scenes)), encoding='utf-8')
    return root


def write_public_set(root: Path, files: dict[str, str], detections: str, joints: int) -> Path:
    """Two well-lit images of one person each and a detection of each, in a layout of MMPose's.

    Args:
        files (dict): Annotation file to the folder of its images.
    """
    people = [person_annotation(i, i, (40, 10, 34, 74)) for i in (1, 2)]
    for person in people:
        person['keypoints'] += (joints - 14) * [50.0, 20.0, 2]
        person.update(iscrowd=0, area=1000.0)
    for ann_file, folder in files.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / ann_file).parent.mkdir(parents=True, exist_ok=True)
        for i in (1, 2):
            image = np.random.default_rng(i).integers(0, 200, (96, 128, 3), np.uint8)
            cv2.imwrite(str(root / folder / f'{i}.jpg'), image)
        content = coco_file([(person['image_id'], f'{person["image_id"]}.jpg', [person]) for person in people])
        (root / ann_file).write_text(json.dumps(content), encoding='utf-8')
    (root / detections).parent.mkdir(parents=True, exist_ok=True)
    found = [dict(image_id=p['image_id'], category_id=1, bbox=p['bbox'], score=0.9) for p in people]
    (root / detections).write_text(json.dumps(found), encoding='utf-8')
    return root


@pytest.fixture
def coco_root(tmp_path) -> Path:
    return write_public_set(
        tmp_path / 'coco',
        {f'annotations/person_keypoints_{split}2017.json': f'{split}2017' for split in ('train', 'val')},
        'person_detection_results/COCO_val2017_detections_AP_H_56_person.json',
        17,
    )


@pytest.fixture
def crowdpose_root(tmp_path) -> Path:
    return write_public_set(
        tmp_path / 'crowdpose',
        {f'annotations/mmpose_crowdpose_{split}.json': 'images' for split in ('trainval', 'test')},
        'annotations/det_for_crowd_test_0.1_0.5.json',
        14,
    )


@pytest.fixture
def pseudo_root(exlpose_root) -> Path:
    """With pseudo labels of the dark images."""
    labels = exlpose_root / 'Annotations' / 'ExLPose_train_LL.json'
    (exlpose_root / 'ExLPose_train_pseudo.json').write_bytes(labels.read_bytes())
    return exlpose_root


@pytest.fixture
def own_root(exlpose_root) -> Path:
    """Files of other names."""
    folder = exlpose_root / 'Annotations'
    for old, new in (('ExLPose_train_LL.json', 'train.json'), ('ExLPose_test_LL-A.json', 'val.json')):
        (folder / old).rename(folder / new)
    return exlpose_root


DATA = {
    'lspet': 'lspet_root',
    'coco': 'coco_root',
    'bottomup': 'pseudo_root',
    'examples/coco_in_the_dark.py': 'coco_root',
    'examples/crowdpose_in_the_dark.py': 'crowdpose_root',
    'examples/stock_mmpose.py': 'crowdpose_root',
    'examples/own_pairs.py': 'own_root',
}
"""Of a config, or of its folder; the others want ExLPose's layout."""


@pytest.fixture
def config(request, monkeypatch):
    data = DATA.get(request.param) or DATA.get(Path(request.param).parts[0], 'exlpose_root')
    return load(request.param, request.getfixturevalue(data), monkeypatch)


def test_names_are_unique():
    assert len({path.name for path in CONFIGS}) == len(CONFIGS) > 0


@pytest.mark.parametrize('config', NAMES, indirect=True)
def test_one_step_of_training_and_testing(config, device):
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(config.model).to(device)
    assert not [name for name in model.state_dict() if 'head.head.' in name]
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and config.get('data_mode') == 'bottomup':
            module.momentum = 1.0  # RTMO takes 0 to 255: without statistics the boxes' exponents leave the range
    step_of_training(model, config)
    step_of_testing(model, config)


def step_of_training(model, config, datasets=DATASETS) -> None:
    """Every trained parameter gets a gradient, or the config warns DDP of some, and the losses are finite."""
    dataset = datasets.build(config.train_dataloader.dataset)
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    model.train()
    collate = FUNCTIONS.get(config.train_dataloader.collate_fn.type)
    batch = model.data_preprocessor(collate([dataset[0], dataset[1]]), training=True)
    losses = model(**batch, mode='loss')
    total, scalars = model.parse_losses(losses)
    assert {name for name, value in scalars.items() if not torch.isfinite(value)} == set()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    before = next(iter(trained.values())).detach().clone()

    optimizer.backward(total)
    assert any(p.grad is None for p in trained.values()) == config.get('find_unused_parameters', False)
    trained = {name: p for name, p in trained.items() if p.grad is not None}
    assert [name for name, p in trained.items() if not p.grad.isfinite().all()] == []
    optimizer.step()
    assert not torch.equal(before, next(iter(trained.values())))


def step_of_testing(model, config) -> None:
    """The first and the last test sample, of the table's first and last row, are predicted."""
    dataset = DATASETS.build(config.val_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[len(dataset) - 1]])
    rows = list(config.val_evaluator.ann_files)
    assert [sample.lighting for sample in batch['data_samples']] == [lighting_of_row(rows[i]) for i in (0, -1)]
    model.eval()
    for sample in model.val_step(batch):
        shape = sample.pred_instances.keypoints.shape
        assert shape[1:] == (dataset.metainfo['num_keypoints'], 2)
        assert shape[0] == 1 or config.data_mode == 'bottomup'
        assert np.isfinite(sample.pred_instances.keypoints).all()
        assert np.isfinite(sample.pred_instances.keypoint_scores).all()


def evaluate(config, dataloader, evaluator) -> dict:
    """One pass over the data of a dataloader's config, with the config's model untrained."""
    dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    loader = Runner.build_dataloader(dataloader)
    evaluator = Evaluator(evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    model = MODELS.build(config.model).eval()
    for batch in loader:
        evaluator.process(model.val_step(batch), batch)
    return evaluator.evaluate(len(loader.dataset))


@pytest.mark.parametrize(
    'config',
    [
        'exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py',
        'lspet/exlpose_mobilenetv2_1xb32-8e_lspet-128x96.py',
        'examples/coco_in_the_dark.py',
        'examples/own_pairs.py',
        'examples/stock_mmpose.py',
    ],
    indirect=True,
)
def test_a_full_pass_of_the_evaluator(config):
    metrics = evaluate(config, config.val_dataloader, config.val_evaluator)
    for row in (*config.val_evaluator.ann_files, 'LL-A'):
        assert 0 <= metrics[f'{row}/AP'] <= 1
    assert config.default_hooks.checkpoint.save_best in metrics


@pytest.mark.parametrize(
    'name',
    [
        'exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-ocn-256x192.py',
        'bottomup/exlpose_dekr_hrnet-w32_1xb10-100e_exlpose-ocn-512x512.py',
    ],
)
def test_the_night_photographs_are_tested_in_one_pass(name, exlpose_root, monkeypatch):
    for i, camera in enumerate(('A7M3', 'RICOH3')):
        photo = f'{camera}/{i}.png'
        (exlpose_root / 'ExLPose-OCN' / camera).mkdir(parents=True)
        night = np.random.default_rng(i).poisson(2, (96, 128, 3)).astype(np.uint8)
        cv2.imwrite(str(exlpose_root / 'ExLPose-OCN' / photo), night)
        content = coco_file([(i, photo, [person_annotation(i, i, (40, 10, 34, 74))])])
        path = exlpose_root / 'Annotations' / f'ExLPose-OC_test_{camera}.json'
        path.write_text(json.dumps(content), encoding='utf-8')
    config = load(name, exlpose_root, monkeypatch)
    metrics = evaluate(config, config.test_dataloader, config.test_evaluator)
    assert {key.partition('/')[0] for key in metrics} == {'A7M3', 'RICOH3', 'OCN'}


@pytest.mark.parametrize('config', [n for n in NAMES if Path(n).name.startswith('exlpose_')], indirect=True)
def test_a_config_called_exlpose_has_both_parts_of_the_method(config):
    assert config.model.backbone.norm_cfg.type == 'LSBN2d'
    assert type(MODELS.build(config.model).head.well_lit_teacher.loss_module) is GramLoss


FASTER = dict(
    bf16='optim_wrapper = _base_.bf16',
    fused='optim_wrapper = _base_.fused',
    channels_last='default_hooks = _base_.channels_last',
    joints_only='target = dict(type="GenerateTarget", encoder=dict(**_base_.codec, **_base_.joints_only))\n'
    'train_pipeline = [*_base_.train_pipeline[:3], target, _base_.train_pipeline[-1]]\n'
    'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))',
    one_pass='model = _base_.one_pass',
    all_cores='train_dataloader = _base_.all_cores',
    all='optim_wrapper = dict(**_base_.fused, **_base_.bf16)\ndefault_hooks = _base_.channels_last',
)


@pytest.mark.parametrize('name', FASTER)
def test_each_line_that_makes_it_faster_takes_a_step(name, exlpose_root, tmp_path, monkeypatch):
    if name in ('fused', 'all') and not fuses_on_a_cpu():
        pytest.skip('this torch has fused optimisers for GPUs only')
    bases = [
        str(ROOT / 'configs' / base)
        for base in ('exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py', '_base_/fast.py')
    ]
    (tmp_path / 'config.py').write_text(f'_base_ = {bases}\n{FASTER[name]}\n', encoding='utf-8')
    config = load(tmp_path / 'config.py', exlpose_root, monkeypatch)
    config.train_dataloader.update(num_workers=0, batch_size=2, persistent_workers=False)
    config.train_dataloader.dataset.indices = 2
    config.model.train_cfg = dict(compute_acc=False)
    runner = Runner.from_cfg(
        Config(
            dict(
                model=config.model,
                train_dataloader=config.train_dataloader,
                optim_wrapper=config.optim_wrapper,
                default_hooks={key: hook for key, hook in config.default_hooks.items() if key == 'channels_last'},
                custom_hooks=[dict(type='FiniteLossHook')],
                train_cfg=dict(by_epoch=True, max_epochs=1),
                work_dir=str(tmp_path),
                experiment_name=tmp_path.name,
                default_scope='mmpose',
                log_level='ERROR',
            )
        )
    )
    before, dtypes = runner.model.backbone.conv1.weight.detach().clone(), []
    runner.model.backbone.layer4.register_forward_hook(lambda module, _, out: dtypes.append(out.dtype))
    runner.train()
    conv = runner.model.backbone.layer1[0].conv1.weight
    passes = 1 if name == 'one_pass' else 2
    assert dtypes == passes * [torch.bfloat16 if name in ('bf16', 'all') else torch.float32]
    assert conv.is_contiguous(memory_format=torch.channels_last) == (name in ('channels_last', 'all'))
    assert bool(runner.optim_wrapper.optimizer.param_groups[0]['fused']) == (name in ('fused', 'all'))
    assert conv.isfinite().all() and not torch.equal(before, runner.model.backbone.conv1.weight)


@pytest.mark.no_cover  # yapf takes twice as long when it is traced
@pytest.mark.parametrize(
    'config',
    ['exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py', 'exlpose/exlpose_rtmpose-m_1xb32-32e_exlpose-256x192.py'],
    indirect=True,
)
def test_the_copy_that_a_run_writes_to_its_work_dir_is_the_config(config):
    assert Config.fromstring(config.pretty_text, '.py')._cfg_dict == config._cfg_dict
