"""Annotation files that are not what they ought to be: each is refused, by name."""

import json

import pytest
from conftest import coco_file, person_annotation

from exlpose_mm.datasets.annotations import check_annotations
from exlpose_mm.datasets.files import DatasetError

NAN = float('nan')
FRAME = r'\[128, 96\]'


@pytest.fixture
def content():
    """Two images with a person each."""
    return coco_file([(i, f'{i}.png', [person_annotation(10 + i, i, (40, 10, 34, 74))]) for i in (1, 2)])


def check(content, folder, **kwargs):
    path = folder / 'people.json'
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding='utf-8')
    check_annotations(str(path), 14, **kwargs)


@pytest.mark.parametrize('text', ['', '{"images": [', '\ufeff{}', '"\\'])
def test_no_json(text, tmp_path):
    with pytest.raises(DatasetError, match=r'people\.json is no JSON file, or not all of it: .*; download'):
        check(text, tmp_path)


@pytest.mark.parametrize(
    'other, message',
    [
        ([], 'no list of images'),
        ({}, 'no list of images'),
        (dict(images=[]), 'no list of images'),
        (dict(images={}), 'no list of images'),
        (dict(annotations=[]), 'no list of annotations'),
        (dict(annotations=[7]), 'no list of annotations'),
        (dict(images=[{}]), 'number 0 of its images has the id None'),
        (dict(images=[dict(id='a', file_name='b', width=1, height=1)]), "the id 'a'"),
        (dict(images=[dict(id=1, file_name=2, width=1, height=1)]), 'the file_name 2'),
        (dict(images=[dict(id=1, file_name='b', height=1)]), 'the width None'),
        (dict(annotations=[dict(id=1, image_id=1)]), 'number 0 of its annotations has the category_id None'),
    ],
)
def test_another_schema(other, message, content, tmp_path):
    with pytest.raises(DatasetError, match=rf'people\.json is no COCO annotation file: .*{message}'):
        check({**content, **other} if other else other, tmp_path)


@pytest.mark.parametrize(
    'kind, change, message',
    [
        ('images', dict(id=1), 'the id of images 1'),
        ('annotations', dict(id=11), 'the id of annotations 11'),
        ('images', dict(file_name='1.png'), "the file_name '1.png'"),
    ],
)
def test_duplicates(kind, change, message, content, tmp_path):
    content[kind][1].update(change)
    with pytest.raises(DatasetError, match=rf'people\.json: 1 duplicates: {message} is there more than once'):
        check(content, tmp_path)


BOXES = [
    (dict(bbox=[10, 10, 0, 5]), 'without area'),
    (dict(bbox=[10, 10, -5, 5]), 'without area'),
    (dict(bbox=[128, 10, 5, 5]), f'outside its frame of {FRAME}'),
    (dict(bbox=[-5, 10, 5, 5]), 'outside its frame'),
    (dict(bbox=[10, 96, 5, 5]), 'outside its frame'),
    (dict(bbox=[NAN, 1, 2, 3]), 'no box of four numbers'),
    (dict(bbox=[1, 2, 3]), 'no box of four numbers'),
    (dict(bbox=None), 'no box'),
    (dict(bbox='wide'), 'no box'),
    (dict(image_id=3), 'of the image 3, which the file does not list'),
]


@pytest.mark.parametrize('unlabelled', [False, True])
@pytest.mark.parametrize('change, message', BOXES)
def test_a_wrong_box(change, message, unlabelled, content, tmp_path):
    content['annotations'][1].update(change)
    with pytest.raises(DatasetError, match=rf'people\.json: annotation 12 .*{message}.*; correct it or take it out'):
        check(content, tmp_path, unlabelled=unlabelled)


@pytest.mark.parametrize(
    'keypoints, message',
    [
        (17 * [1, 1, 2], '17 keypoints, expected 14'),
        ([5, 5, 2, 1], '1.33333 keypoints'),
        (14 * [NAN, 1, 2], 'not numbers'),
        (14 * ['a', 1, 2], 'not numbers'),
        (14 * [40, 20, '2'], 'not numbers'),
        ([40, 20, 3] + 13 * [40, 20, 2], 'a joint with v = 3; COCO knows 0 .not labelled., 1'),
        (14 * [40, 20, 0.87], 'a joint with v = 0.87'),
        (14 * [40, 20, -1], 'a joint with v = -1'),
        (14 * [129, 5, 2], f'no labelled keypoint inside its frame of {FRAME}'),
        (14 * [-5, 5, 1], 'no labelled keypoint'),
        ([5, 5, 0] + 13 * [5, 97, 2], 'no labelled keypoint'),
    ],
)
def test_wrong_joints(keypoints, message, content, tmp_path):
    content['annotations'][1].update(keypoints=keypoints)
    with pytest.raises(DatasetError, match=rf'people\.json: annotation 12 .*{message}.*; correct it or take it out'):
        check(content, tmp_path)
    check(content, tmp_path, unlabelled=True)  # does not look at joints


@pytest.mark.parametrize(
    'change',
    [
        dict(bbox=[100, -20, 60, 200]),
        dict(bbox=[127.5, 95.5, 5, 5]),
        dict(keypoints=[500, 5, 2] + 13 * [5, 5, 2]),
        dict(keypoints=42 * [0], bbox=[0, 0, 0, 0]),
        dict(keypoints=[], bbox=None),
        dict(iscrowd=1, bbox=[0, 0, 0, 0]),
    ],
)
def test_what_leaves_the_frame_or_is_left_out_may_stay(change, content, tmp_path):
    content['annotations'][1].update(change)
    check(content, tmp_path)
