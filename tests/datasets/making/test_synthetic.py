"""The folder of drawn pairs against ExLPose's conventions."""

import json
import os
import re

import cv2
import numpy as np
import pytest

from exlpose_mm.datasets.making.drawing import JOINTS
from exlpose_mm.datasets.making.drawn import LEVELS, write_dataset

SIZE = (160, 120)
STRENGTH = dict(normal=0.5, hard=0.2, extreme=0.05)
PAIR = re.compile(
    r'imgs_\d{4}_vid\d{6}_exp\d+_(?P<side>bright|dark)_\d{6}'
    r'__gain_(?P<gain>\d+\.\d\d)_exposure_\d+\.png'
)
TEST_SETS = ('WL', 'LL-A', 'LL-N', 'LL-H', 'LL-E')


def darken(image, level, rng):
    return np.uint8(image * STRENGTH[level])


def make(root, train=4, test=6, seed=0, size=SIZE, darken=darken, **kwargs):
    return write_dataset(root, train, test, seed, size, darken, **kwargs)


def files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


def labels(root, split, name):
    return json.loads((root / 'Annotations' / f'ExLPose_{split}_{name}.json').read_text(encoding='utf-8'))


def names(root, split, name):
    return [image['file_name'] for image in labels(root, split, name)['images']]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn')
    make(root)
    return root


# Determinism


def test_same_seed_same_bytes(data, tmp_path):
    make(tmp_path)
    assert files(tmp_path) == files(data)


def test_other_seed_other_images(data, tmp_path):
    make(tmp_path, seed=1)
    same = set(files(tmp_path).values()) & set(files(data).values())
    assert not same


def test_an_image_does_not_depend_on_how_many_there_are(data, tmp_path):
    make(tmp_path, train=2, test=3)
    few, many = files(tmp_path / 'ExLPose'), files(data / 'ExLPose')
    assert len(few) == 10
    assert few.items() <= many.items()
    people = labels(data, 'test', 'WL')['annotations']
    assert all(person in people for person in labels(tmp_path, 'test', 'WL')['annotations'])


def test_train_and_test_show_different_scenes(data):
    images = files(data / 'ExLPose' / 'bright')
    assert len(set(images.values())) == len(images) == 10


# Layout


def test_every_named_file_exists_and_no_other(data):
    named = [
        name
        for split, sets in (('train', ('WL', 'LL')), ('test', ('WL', 'LL-A')))
        for part in sets
        for name in names(data, split, part)
    ]
    assert len(set(named)) == len(named)
    assert set(named) == set(files(data / 'ExLPose'))


@pytest.mark.parametrize('split, dark', [('train', 'LL'), ('test', 'LL-A')])
def test_pairs_agree_in_all_but_side_and_gain(data, split, dark):
    pairs = list(zip(names(data, split, 'WL'), names(data, split, dark)))
    for bright, dark in pairs:
        first, second = (PAIR.fullmatch(name.split('/')[1]) for name in (bright, dark))
        assert (first['side'], second['side']) == ('bright', 'dark')
        assert first['gain'] != second['gain']
        same = re.sub('gain_[^_]*', '', bright).replace('bright', 'dark')
        assert same == re.sub('gain_[^_]*', '', dark)
    assert len(pairs) == (4 if split == 'train' else 6)


@pytest.mark.parametrize('split, dark', [('train', 'LL'), ('test', 'LL-A')])
def test_both_sides_have_the_same_labels(data, split, dark):
    assert labels(data, split, 'WL')['annotations'] == labels(data, split, dark)['annotations']


def test_all_is_the_disjoint_union_of_the_levels(data):
    parts = [names(data, 'test', name) for name in ('LL-N', 'LL-H', 'LL-E')]
    assert [len(part) for part in parts] == [2, 2, 2]
    assert sorted(sum(parts, [])) == sorted(names(data, 'test', 'LL-A'))
    people = [person for name in ('LL-N', 'LL-H', 'LL-E') for person in labels(data, 'test', name)['annotations']]
    assert len({person['id'] for person in people}) == len(people)
    assert len(people) == len(labels(data, 'test', 'LL-A')['annotations'])


@pytest.mark.parametrize('name', TEST_SETS)
def test_annotations_are_as_in_the_release(data, name):
    content = labels(data, 'test', name)
    (category,) = content['categories']
    assert tuple(category['keypoints']) == JOINTS
    assert len(category['skeleton']) == 13
    ids = {image['id'] for image in content['images']}
    for image in content['images']:
        assert set(image) == {'file_name', 'id', 'height', 'width', 'crowdIndex'}
        assert (image['width'], image['height'], image['crowdIndex']) == (*SIZE, 0)
    for person in content['annotations']:
        assert set(person) == {'num_keypoints', 'iscrowd', 'keypoints', 'image_id', 'bbox', 'category_id', 'id'}
        assert len(person['keypoints']) == 42
        assert person['num_keypoints'] == person['keypoints'][2::3].count(2.0)
        assert person['image_id'] in ids


def test_levels_reach_the_camera_in_order(data):
    def brightness(name):
        return cv2.imread(str(data / 'ExLPose' / name)).mean()

    for number, name in enumerate(('LL-N', 'LL-H', 'LL-E')):
        strength = STRENGTH[LEVELS[number]]
        bright = dict(zip(names(data, 'test', 'LL-A'), names(data, 'test', 'WL')))
        for dark in names(data, 'test', name):
            assert brightness(dark) == pytest.approx(strength * brightness(bright[dark]), abs=0.6)


def test_level_shows_in_the_gain_of_the_bright_name(data):
    bright = dict(zip(names(data, 'test', 'LL-A'), names(data, 'test', 'WL')))
    for name, low, high in (('LL-N', 0, 15), ('LL-H', 15, 24), ('LL-E', 24, 40)):
        for dark in names(data, 'test', name):
            assert low < float(re.search(r'gain_([\d.]+)_', bright[dark])[1]) < high


# Repeating, interrupting, mistakes


def test_finished_set_is_left_alone(tmp_path):
    assert make(tmp_path, 1, 3) is True
    before = {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob('*.*')}

    def broken(image, level, rng):
        raise RuntimeError('drawn again')

    broken.__module__, broken.__qualname__ = darken.__module__, darken.__qualname__
    assert make(tmp_path, 1, 3, darken=broken) is False
    assert {path: os.stat(path).st_mtime_ns for path in tmp_path.rglob('*.*')} == before


def test_interrupted_set_is_not_taken_for_finished(data, tmp_path):
    count = iter(range(5))

    def stop():
        if next(count) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, progress=stop)
    assert not list((tmp_path / 'Annotations').iterdir())
    assert not (tmp_path / 'dataset.json').exists()
    assert make(tmp_path) is True
    assert files(tmp_path) == files(data)


def test_progress_is_called_once_a_pair(tmp_path):
    calls = []
    make(tmp_path, 2, 3, progress=lambda: calls.append(1))
    assert len(calls) == 5


@pytest.mark.parametrize(
    'change',
    [dict(seed=1), dict(train=5), dict(test=9), dict(size=(64, 64)), dict(darken=lambda image, level, rng: image)],
)
def test_other_parameters_in_the_same_folder_are_refused(data, change):
    before = files(data)
    with pytest.raises(ValueError, match=re.escape(str(data))):
        make(data, **change)
    assert files(data) == before


def test_foreign_folder_and_file_are_refused(tmp_path):
    note = tmp_path / 'notes.txt'
    note.write_text('mine', encoding='utf-8')
    with pytest.raises(ValueError, match='not empty'):
        make(tmp_path)
    with pytest.raises(ValueError, match='is a file'):
        make(note)
    assert files(tmp_path) == {'notes.txt': b'mine'}


@pytest.mark.parametrize(
    'change, word',
    [
        (dict(train=0), 'num_train'),
        (dict(test=2), 'num_test'),
        (dict(seed=-1), 'seed'),
        (dict(size=(320, 32)), 'size'),
        (dict(darken=lambda i, *_: i[..., 0]), 'darken'),
        (dict(darken=lambda i, *_: i / 255), 'darken'),
    ],
)
def test_mistakes_are_named(tmp_path, change, word):
    with pytest.raises(ValueError, match=word):
        make(tmp_path, **change)
