"""The crop cache: the same samples without decoding; resumable, checked, rebuilt."""

import multiprocessing
import os
import pickle
import runpy
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import GetBBoxCenterScale, RandomBBoxTransform, TopdownAffine
from mmpose.registry import DATASETS, TRANSFORMS
from test_configs import ROOT, load
from test_transforms import image
from torch.utils.data import DataLoader

from exlpose_mm import ExLPoseDataset
from exlpose_mm.datasets import crop_cache
from exlpose_mm.datasets.crop_cache import CropCache, CropCacheError, build, reach, verify
from exlpose_mm.engine.variables import ConfigError, load_config

AFFINE = dict(type='TopdownAffine', input_size=(24, 32))
CODEC = dict(type='MSRAHeatmap', input_size=(24, 32), heatmap_size=(6, 8), sigma=1)
END = [dict(type='GenerateTarget', encoder=CODEC), dict(type='PackPairedInputs')]
CPN = dict(type='CPNCrop', input_size=(24, 32), scale_range=(0.4, 0.6))
SCALE = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean', crop=CPN)])
PIPELINES = dict(
    cpn=[dict(type='LoadPairedImages'), SCALE, CPN, *END],
    affine=[
        dict(type='LoadPairedImages'),
        dict(type='AddMomentumView'),
        dict(type='OnStudent', transforms=[dict(type='ThinPhotons', scale=1.2)]),
        dict(type='GetBBoxCenterScale', padding=0.7),
        dict(type='RandomFlip', prob=0.5),
        dict(type='RandomBBoxTransform', shift_factor=0.1, scale_factor=(0.5, 0.8), rotate_factor=30),
        dict(
            type='OnLighting',
            lighting='low_light',
            transforms=[dict(type='ScaleToMean', crop=AFFINE), dict(type='AntiAlias', input_size=(24, 32))],
        ),
        AFFINE,
        *END,
    ],
)


def pairs(root, pipeline=PIPELINES['cpn'], **kwargs):
    return ExLPoseDataset(data_root=str(root), pipeline=pipeline, **kwargs)


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / 'caches' / 'crops.lmdb')


class Vignette(BaseTransform):
    """Says that it looks at the middle only, but it does not."""

    def reach(self, results):
        return np.array([[60, 40], [64, 44]])

    def transform(self, results):
        results['img'] = [image + np.uint8(image.mean() // 4) for image in results['img']]
        return results


def sample(dataset, index, seed):
    np.random.seed(seed)
    return dataset[index]['inputs']


def same(first, second) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class TestSamples:
    @pytest.mark.parametrize('pipeline', PIPELINES.values(), ids=PIPELINES)
    def test_are_those_of_whole_frames_to_the_pixel(self, exlpose_root, path, pipeline):
        whole = pairs(exlpose_root, pipeline)
        assert build(whole, path) == (len(whole), [])
        assert verify(whole, path) == len(whole)
        cached = pairs(exlpose_root, pipeline, crop_cache=path)
        for index in range(len(whole)):
            for seed in range(20):
                assert same(sample(whole, index, seed), sample(cached, index, seed))

    @pytest.mark.parametrize('pipeline', PIPELINES.values(), ids=PIPELINES)
    def test_hold_less_than_the_frame(self, exlpose_root, path, pipeline):
        dataset = pairs(exlpose_root, pipeline)
        build(dataset, path)
        person = dataset.get_data_info(0)
        for frame, whole in zip(
            CropCache(path, str(exlpose_root)).load(person)['img'], dataset.pipeline.transforms[0](dict(person))['img']
        ):
            assert frame.shape == whole.shape and (frame == 0).mean() > (whole == 0).mean() + 0.1
            np.testing.assert_array_equal(frame[frame > 0], whole[frame > 0])

    def test_of_one_lighting(self, exlpose_root, path):
        steps = [dict(type='LoadLabelledImage'), *PIPELINES['cpn'][1:]]
        for lighting in ('low_light', 'well_lit'):
            whole = pairs(exlpose_root, steps, lighting=lighting)
            build(whole, path)
            cached = pairs(exlpose_root, steps, lighting=lighting, crop_cache=path)
            np.random.seed(3)
            wanted = whole[2]
            np.random.seed(3)
            found = cached[2]
            assert torch.equal(wanted['inputs'], found['inputs'])
            assert found['data_samples'].img_path == wanted['data_samples'].img_path

    def test_reach_other_processes(self, exlpose_root, path):
        """Workers that are forked after a read, and a data set that was pickled for others."""
        dataset = pairs(exlpose_root, PIPELINES['cpn'])
        build(dataset, path)
        cached = pairs(exlpose_root, PIPELINES['cpn'], crop_cache=path)
        cached.pipeline.transforms[-3].scale_range = dataset.pipeline.transforms[-3].scale_range = (0.6, 0.6)
        wanted = [dataset[i]['inputs'] for i in range(len(dataset))]
        assert same(cached[0]['inputs'], wanted[0])
        loaded = list(DataLoader(cached, batch_size=None, num_workers=2, collate_fn=lambda item: item))
        again = pickle.loads(pickle.dumps(cached))
        for i, inputs in enumerate(wanted):
            assert same(loaded[i]['inputs'], inputs) and same(again[i]['inputs'], inputs)

    def test_a_config_needs_one_line(self, exlpose_root, path, monkeypatch):
        config = load('demo/exlpose_r18_1xb16-10e_demo-128x96.py', exlpose_root, monkeypatch)
        dataset = pairs(exlpose_root, config.train_dataloader.dataset.pipeline)
        build(dataset, path)
        config.merge_from_dict({'train_dataloader.dataset.crop_cache': path})
        assert same(
            sample(pairs(exlpose_root, config.train_dataloader.dataset.pipeline, crop_cache=path), 1, 0),
            sample(dataset, 1, 0),
        )

    def test_of_all_loaders_by_one_option(self, exlpose_root, path, monkeypatch):
        """Those of a test too, whose data sets are members of one that has the pipeline."""
        name = 'exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py'
        tool = runpy.run_path(str(ROOT / 'tools' / 'cache_crops.py'))['main']
        tool([f'configs/{name}', '--out', path, '--data-root', str(exlpose_root), '--workers', '0'])
        whole, cached = (
            load_config(str(ROOT / 'configs' / name), data_root=str(exlpose_root), crop_cache=cache)
            for cache in (None, path)
        )
        monkeypatch.chdir(ROOT)
        for part in ('train', 'val', 'test'):
            sets = [DATASETS.build(config[f'{part}_dataloader'].dataset) for config in (whole, cached)]
            assert len(sets[0]) == len(sets[1]) > 0
            assert same(*(sample(dataset, len(sets[0]) - 1, 0) for dataset in sets))
        monkeypatch.setattr(crop_cache.CropCache, 'load', lambda self, person: 1 / 0)
        for part in ('train', 'val', 'test'):
            with pytest.raises(ZeroDivisionError):
                DATASETS.build(cached[f'{part}_dataloader'].dataset)[0]

    def test_an_option_that_would_change_nothing(self, path):
        with pytest.raises(ConfigError, match=f'crop_cache={path} changes nothing'):
            load_config(str(ROOT / 'configs/lspet/baseline-all_mobilenetv2_1xb32-8e_lspet-128x96.py'), crop_cache=path)


class TestBuilding:
    def test_goes_on_after_a_kill(self, exlpose_root, path):
        dataset = pairs(exlpose_root)

        class Bomb:
            done = 0

            def update(self):
                self.done += 1
                if self.done == 2:
                    os.kill(os.getpid(), signal.SIGKILL)

        process = multiprocessing.get_context('fork').Process(target=build, args=(dataset, path, 0, lambda n: Bomb()))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with pytest.raises(CropCacheError, match='no crop of this person'):
            pairs(exlpose_root, crop_cache=path)
        made, problems = build(dataset, path)
        assert 0 < made < len(dataset) and not problems
        assert len(pairs(exlpose_root, crop_cache=path)) == len(dataset)

    def test_writes_nothing_twice(self, exlpose_root, path):
        build(pairs(exlpose_root), path)
        assert build(pairs(exlpose_root), path) == (0, [])

    def test_by_workers_is_the_same(self, exlpose_root, path, tmp_path):
        dataset = pairs(exlpose_root)
        build(dataset, path)
        build(dataset, str(tmp_path / 'other'), workers=2)
        for i in range(len(dataset)):
            first, second = (
                CropCache(p, str(exlpose_root)).load(dataset.get_data_info(i)) for p in (path, str(tmp_path / 'other'))
            )
            np.testing.assert_array_equal(first['img'], second['img'])
            assert first['lost_sums'] == second['lost_sums']

    def test_makes_room(self, exlpose_root, path, monkeypatch):
        monkeypatch.setattr(crop_cache, 'SMALLEST', 2**16)
        dataset = pairs(exlpose_root)
        assert build(dataset, path)[0] == len(dataset)
        verify(dataset, path)

    @pytest.mark.parametrize('lighting', ['paired', 'low_light'])
    def test_an_unreadable_image_is_named_and_the_rest_done(self, exlpose_root, path, lighting):
        load_step = dict(type='LoadPairedImages' if lighting == 'paired' else 'LoadLabelledImage')
        dataset = pairs(exlpose_root, [load_step, *PIPELINES['cpn'][1:]], lighting=lighting)
        broken = Path(dataset.get_data_info(0)['img_path'])
        broken.write_bytes(broken.read_bytes()[:200])
        made, problems = build(dataset, path)
        assert len(problems) == 1 and broken.name in problems[0]
        assert made == sum(dataset.get_data_info(i)['img_path'] != str(broken) for i in range(len(dataset)))

    def test_a_place_that_cannot_be_written(self, exlpose_root, tmp_path):
        (tmp_path / 'file').write_text('', encoding='utf-8')
        with pytest.raises(CropCacheError, match='cannot write'):
            build(pairs(exlpose_root), str(tmp_path / 'file' / 'crops.lmdb'))

    @pytest.mark.parametrize('workers', [0, 1])
    @pytest.mark.parametrize(
        'steps, problem',
        [
            (PIPELINES['cpn'][1:], 'begins with LoadPairedImages'),
            ([dict(type='LoadPairedImages')], '^a crop cache needs a pipeline with a TopdownAffine or CPNCrop$'),
            (
                [PIPELINES['affine'][0], dict(type='GetBBoxCenterScale'), dict(type='RandomHalfBody'), AFFINE, *END],
                'RandomHalfBody stands before the crop',
            ),
            (
                [
                    PIPELINES['cpn'][0],
                    dict(type='OnLighting', lighting='low_light', transforms=[dict(type='LowLightEnhance')]),
                    *PIPELINES['cpn'][1:],
                ],
                'LowLightEnhance stands before the crop',
            ),
        ],
    )
    def test_a_pipeline_that_does_not_suit(self, exlpose_root, path, steps, problem, workers):
        with pytest.raises(CropCacheError, match=problem):
            build(pairs(exlpose_root, steps), path, workers)

    def test_a_step_that_reads_more_than_it_says_is_found_out(self, exlpose_root, path):
        dataset = pairs(exlpose_root)
        dataset.pipeline.transforms.insert(1, Vignette())
        build(dataset, path)
        with pytest.raises(CropCacheError, match='reads more than'):
            verify(dataset, path)

    def test_data_sets_of_other_classes(self):
        with pytest.raises(CropCacheError, match='only an ExLPoseDataset'):
            build([], 'nowhere')


class TestStaleness:
    def test_no_cache(self, exlpose_root, path):
        with pytest.raises(CropCacheError, match='tools/cache_crops.py'):
            pairs(exlpose_root, crop_cache=path)

    def test_another_file(self, exlpose_root, path):
        Path(path).parent.mkdir()
        Path(path).write_text('{"no": "cache"}' * 1000, encoding='utf-8')
        with pytest.raises(CropCacheError, match='no crop cache, or a damaged one'):
            pairs(exlpose_root, crop_cache=path)

    def test_a_person_who_came_later(self, exlpose_root, path):
        """Who is found by the image and the box."""
        dataset = pairs(exlpose_root)
        build(dataset, path)
        stranger = dict(dataset.get_data_info(0), bbox=np.float32([[1, 2, 30, 40]]))
        with pytest.raises(CropCacheError, match=f'no crop of .*{Path(stranger["img_path"]).name}'):
            CropCache(path, dataset.data_root).load(stranger)

    def test_steps_that_read_the_whole_frame(self, exlpose_root, path):
        build(pairs(exlpose_root), path)
        enhance = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='LowLightEnhance')])
        with pytest.raises(CropCacheError, match='LowLightEnhance'):
            pairs(exlpose_root, [PIPELINES['cpn'][0], enhance, *PIPELINES['cpn'][1:]], crop_cache=path)

    def test_a_changed_image(self, exlpose_root, path):
        dataset = pairs(exlpose_root)
        build(dataset, path)
        changed = Path(dataset.get_data_info(0)['well_lit_path'])
        changed.write_bytes(Path(dataset.get_data_info(2)['well_lit_path']).read_bytes())
        with pytest.raises(CropCacheError, match='changed since'):
            pairs(exlpose_root, crop_cache=path)
        made, _ = build(dataset, path)
        assert made == sum(dataset.get_data_info(i)['well_lit_path'] == str(changed) for i in range(len(dataset)))
        verify(dataset, path)

    def test_a_wider_augmentation(self, exlpose_root, path):
        build(pairs(exlpose_root), path)
        wider = [PIPELINES['cpn'][0], {**CPN, 'scale_range': (0.4, 0.8)}, *END]
        with pytest.raises(CropCacheError, match='reads more than was kept'):
            pairs(exlpose_root, wider, crop_cache=path)
        dataset = pairs(exlpose_root, wider)
        assert build(dataset, path)[0] == len(dataset)
        assert pairs(exlpose_root, wider, crop_cache=path)[0]


BOXES = [(300, 200, 380, 360), (20, 10, 60, 50), (560, 350, 640, 420), (250, 150, 450, 180)]


@pytest.mark.parametrize('box', BOXES)
@pytest.mark.parametrize(
    'draws',
    [
        dict(shift_prob=0.0, rotate_factor=20, scale_factor=(0.85, 1.15)),
        dict(rotate_factor=80, scale_factor=(0.5, 1.5)),
        dict(shift_prob=0.0, scale_prob=0.0, rotate_factor=180),
    ],
)
def test_nothing_outside_the_reach_is_read(box, draws):
    """Frames that differ only there give the same crops."""
    steps = [GetBBoxCenterScale(), RandomBBoxTransform(**draws), TopdownAffine((24, 32))]
    person = dict(bbox=np.float32([box]))
    (left, top), (right, bottom) = reach(steps, person).clip(0)
    frame = image(high=255, size=(400, 600))
    other = np.zeros_like(frame)
    other[top:bottom, left:right] = frame[top:bottom, left:right]
    for seed in range(30):
        crops = []
        for img in (frame, other):
            np.random.seed(seed)
            results = dict(person, img=img)
            for step in steps:
                results = step.transform(results)
            crops.append(results['img'])
        np.testing.assert_array_equal(*crops)


def test_the_reach_is_not_the_whole_frame():
    steps = [
        TRANSFORMS.build(dict(type=name, **kwargs))
        for name, kwargs in (('GetBBoxCenterScale', dict(padding=1.25)), ('TopdownAffine', dict(input_size=(192, 256))))
    ]
    (left, top), (right, bottom) = reach(steps, dict(bbox=np.float32([[100, 100, 160, 180]])))
    assert 0 <= 130 - left - 37.5 < 6 and 0 <= right - 130 - 37.5 < 6
    assert 0 <= 140 - top - 50 < 6 and 0 <= bottom - 140 - 50 < 6
