"""Random numbers by sample and by iteration: the same training with any number of workers."""

import copy
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import ConcatDataset, InfiniteSampler
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpose.registry import TRANSFORMS
from torch.utils.data import DataLoader, SequentialSampler

from exlpose_mm import ReseedHook, SeededBatchSampler
from exlpose_mm.datasets.samplers import SeededBatch

# Ours, MMPose's and mmdet's, which draw from numpy's, scipy's and python's generators.
PIPELINE = [
    dict(type='LoadImage'),
    dict(type='SimulateLowLight', level='exlpose'),
    dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ThinPhotons', keep=(0.3, 1.0), prob=0.5)]),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomHalfBody'),
    dict(type='RandomBBoxTransform'),
    dict(type='TopdownAffine', input_size=(48, 64)),
    dict(
        type='OnLighting',
        lighting='well_lit',
        transforms=[dict(type='mmdet.CutOut', n_holes=(1, 3), cutout_ratio=(0.2, 0.2))],
    ),
    dict(type='PythonAndTorchNoise'),
    dict(type='PackPairedInputs'),
]


@TRANSFORMS.register_module()
class PythonAndTorchNoise:
    """What other packages' transforms may draw from."""

    def __call__(self, results):
        noise = random.randint(0, 9) + torch.randint(9, results['img'][0].shape).numpy()
        return {**results, 'img': [image + noise for image in results['img']]}


def loader(root, workers, seed=0, pipeline=PIPELINE, **kwargs):
    people = dict(type='ExLPoseDataset', data_root=str(root), lighting='well_lit', pipeline=pipeline)
    return Runner.build_dataloader(
        copy.deepcopy(
            dict(
                dict(
                    batch_size=2,
                    num_workers=workers,
                    persistent_workers=workers > 1,
                    dataset=people,
                    sampler=dict(type='DefaultSampler', shuffle=True),
                    batch_sampler=dict(type='SeededBatchSampler'),
                ),
                **kwargs,
            )
        ),
        seed=seed,
    )


def epoch_of(data, epoch):
    """Images of an epoch by the sample's annotation, in the order in which they came."""
    data.batch_sampler.sampler.set_epoch(epoch)
    return {
        sample.id: torch.stack(list(images))
        for batch in data
        for sample, *images in zip(batch['data_samples'], *batch['inputs'].values())
    }


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


def test_batches_are_the_same_with_any_number_of_workers(exlpose_root):
    alone = loader(exlpose_root, 0)
    epochs = [epoch_of(alone, epoch) for epoch in range(2)]
    for workers in (1, 2):
        data = loader(exlpose_root, workers)
        assert [same(epoch_of(data, epoch), epochs[epoch]) for epoch in range(2)] == [True, True]
    # A resumed run starts with this epoch.
    assert same(epoch_of(loader(exlpose_root, 0), 1), epochs[1])
    other = epoch_of(loader(exlpose_root, 0, seed=1), 0)
    for person, images in epochs[0].items():
        assert not torch.equal(images, epochs[1][person])
        assert not torch.equal(images, other[person])


def test_other_data_sets_and_endless_samplers(exlpose_root):
    people = dict(
        type='ExLPoseDataset',
        data_root=str(exlpose_root),
        lighting='well_lit',
        pipeline=PIPELINE,
        indices=2,
        serialize_data=False,
    )
    kwargs = dict(dataset=dict(type=ConcatDataset, datasets=[people, people]), sampler=dict(type=InfiniteSampler))
    firsts = []
    for workers in (0, 2):
        batches = [batch['inputs']['low_light'] for batch, _ in zip(loader(exlpose_root, workers, **kwargs), range(4))]
        firsts.append([image for batch in batches for image in batch])
    assert all(map(torch.equal, *firsts))
    assert len({image.numpy().tobytes() for image in firsts[0]}) == 8  # of two people


def test_loading_leaves_the_generators_as_they_were(exlpose_root):
    random.seed(3), np.random.seed(3), torch.manual_seed(3)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    data = loader(exlpose_root, 0)
    data.dataset.full_init()
    [data.dataset[index] for index in next(iter(data.batch_sampler))]
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


@pytest.mark.parametrize(
    'through',
    [
        copy.copy,
        copy.deepcopy,
        *(lambda batch, protocol=protocol: pickle.loads(pickle.dumps(batch, protocol)) for protocol in range(2, 6)),
    ],
)
def test_on_its_way_to_a_worker_a_batch_seeds_nothing(through, monkeypatch):
    """torch's loader pickles it in a thread, while the model draws its dropout."""
    seeded = []
    monkeypatch.setattr('exlpose_mm.datasets.samplers.seed_generators', lambda *entropy: seeded.append(entropy))
    batch = through(SeededBatch([7, 5], (0, 1, 2)))
    assert type(batch) is SeededBatch and not seeded
    assert [*batch] == [7, 5]
    assert seeded == [(0, 1, 2, 0, 7), (0, 1, 2, 1, 5)]


@pytest.mark.parametrize(
    'name',
    [
        'exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py',
        'lspet/exlpose_mobilenetv2_1xb32-8e_lspet-128x96.py',
        'dark-lspet/dual-teacher-unpaired_mobilenetv2_1xb48-270i_dark-lspet-128x96.py',
    ],
)
def test_our_configs_do_so(name):
    config = Config.fromfile(Path(__file__).resolve().parents[2] / 'configs' / name)
    assert config.train_dataloader.batch_sampler == dict(type='SeededBatchSampler', drop_last=True)
    assert config.default_hooks.reseed.type == 'ReseedHook'
    assert config.default_hooks.checkpoint.type == 'SafeCheckpointHook'


def test_a_sampler_without_epochs_counts_its_passes():
    batches = SeededBatchSampler(SequentialSampler(range(2)), 2, seed=0)
    drawn = [[np.random.rand() for batch in batches for _ in batch] for _ in range(2)]
    assert len({*drawn[0], *drawn[1]}) == 4


def test_a_sampler_without_a_seed_is_refused():
    with pytest.raises(ValueError, match=r'SequentialSampler has no seed; say batch_sampler=dict\(..., seed=0\)'):
        SeededBatchSampler(SequentialSampler(range(2)), 2)


@pytest.fixture
def keep_determinism():
    kept = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    yield
    torch.use_deterministic_algorithms(kept[0])
    torch.backends.cudnn.deterministic = kept[1]


@pytest.mark.parametrize(
    'deterministic, before, after', [(True, None, ':4096:8'), (True, ':16:8', ':16:8'), (False, None, None)]
)
def test_matrix_products_on_a_gpu_may_be_deterministic(
    deterministic, before, after, tmp_path, monkeypatch, keep_determinism
):
    """torch's raise without this variable."""
    name, seen = 'CUBLAS_WORKSPACE_CONFIG', []
    monkeypatch.setenv(name, before or '')  # so that it is as before afterwards
    if before is None:
        monkeypatch.delenv(name)

    class Model(BaseModel):
        def forward(self, inputs, mode):
            seen.append(os.environ.get(name))
            return [0.0]

    Runner(
        Model(),
        str(tmp_path),
        test_dataloader=DataLoader([dict(inputs=0)]),
        test_cfg=dict(),
        test_evaluator=Evaluator([]),
        custom_hooks=[ReseedHook()],
        experiment_name=tmp_path.name,
        randomness=dict(seed=0, deterministic=deterministic),
    ).test()
    assert seen == [after]


class AnyRunner:
    seed, iter = 0, 5


def test_an_iteration_has_random_numbers_of_its_own():
    runner, drawn = AnyRunner(), []
    for runner.seed, runner.iter in ((0, 5), (0, 5), (0, 6), (1, 5)):
        torch.rand(runner.iter)
        ReseedHook().before_train_iter(runner, 0)
        drawn.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    assert all(len(set(column)) == 3 for column in zip(*drawn))
