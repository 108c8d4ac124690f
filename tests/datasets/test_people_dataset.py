"""Whole images and boxes of ExLPose's people, as MMDetection reads them."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from exlpose_mm.datasets.exlpose import DatasetError
from exlpose_mm.datasets.people import ExLPosePeopleDataset, RowsDataset


def contents(root, name) -> dict:
    return json.loads((root / 'Annotations' / f'ExLPose_{name}.json').read_text(encoding='utf-8'))


def rewrite(root, name, content) -> None:
    (root / 'Annotations' / f'ExLPose_{name}.json').write_text(json.dumps(content), encoding='utf-8')


def build(root, lighting='low_light', name='test_LL-A', **kwargs) -> ExLPosePeopleDataset:
    return ExLPosePeopleDataset(lighting, data_root=str(root), ann_file=f'ExLPose_{name}.json', **kwargs)


def infos(dataset) -> list[dict]:
    return [dataset.get_data_info(i) for i in range(len(dataset))]


@pytest.mark.parametrize('lighting, word', [('low_light', 'dark'), ('well_lit', 'bright'), ('paired', 'dark')])
def test_a_sample_is_an_image_with_everybody_in_it(exlpose_root, lighting, word):
    content = contents(exlpose_root, 'test_LL-A')
    dataset = build(exlpose_root, lighting, test_mode=True)
    assert len(dataset) == len(content['images']) == 6
    for info, image in zip(infos(dataset), content['images']):
        boxes = [a['bbox'] for a in content['annotations'] if a['image_id'] == image['id']]
        expected = [[x, y, x + w, y + h] for x, y, w, h in boxes]
        assert np.allclose([person['bbox'] for person in info['instances']], expected)
        assert {(person['bbox_label'], person['ignore_flag']) for person in info['instances']} == {(0, 0)}
        assert Path(info['img_path']).parent.name == word and info['img_id'] == image['id']
        assert ('well_lit_path' in info) == (lighting == 'paired')
        assert info.get('lighting') == (None if lighting == 'paired' else lighting)
    assert sum(len(info['instances']) for info in infos(dataset)) == len(content['annotations']) == 10


def test_people_without_joints_are_people_and_crowds_are_to_be_ignored(exlpose_root):
    content = contents(exlpose_root, 'test_LL-H')
    unlabelled = next(a for a in content['annotations'] if a['id'] == 90)
    assert not any(unlabelled['keypoints'])
    unlabelled['iscrowd'] = 1
    rewrite(exlpose_root, 'test_LL-H', content)
    people = infos(build(exlpose_root, name='test_LL-H'))[0]['instances']
    assert [person['ignore_flag'] for person in people] == [0, 0, 1]


def test_images_of_nobody_are_tested_and_not_trained_on(exlpose_root):
    content = contents(exlpose_root, 'test_LL-N')
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] == 1]
    rewrite(exlpose_root, 'test_LL-N', content)
    assert [info['img_id'] for info in infos(build(exlpose_root, name='test_LL-N'))] == [1]
    tested = infos(build(exlpose_root, name='test_LL-N', test_mode=True))
    assert {info['img_id']: len(info['instances']) for info in tested} == {0: 0, 1: 1}


def test_a_wrong_box_of_somebody_without_joints_is_named(exlpose_root):
    content = contents(exlpose_root, 'test_LL-H')
    next(a for a in content['annotations'] if a['id'] == 90)['bbox'] = [500.0, 0.0, 10.0, 10.0]
    rewrite(exlpose_root, 'test_LL-H', content)
    with pytest.raises(DatasetError, match='annotation 90 has a box outside its frame'):
        build(exlpose_root, name='test_LL-H')


def test_a_checkpoint_will_say_that_it_finds_people(exlpose_root):
    """mmdet's init_detector reads the names in small letters: no other may fall together with ``classes``."""
    meta = build(exlpose_root).metainfo
    assert [key for key in meta if key.lower() == 'classes'] == ['classes'] and meta['classes'] == ('person',)


def test_rows_follow_each_other_and_share_a_pipeline(exlpose_root):
    tests = [('low_light', 'test_LL-N'), ('well_lit', 'test_WL')]
    common = dict(type='ExLPosePeopleDataset', data_root=str(exlpose_root), test_mode=True)
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = RowsDataset(
            [
                dict(lighting=lighting, ann_file=f'ExLPose_{name}.json', pipeline=[dict(type='LoadLabelledImage')])
                | common
                for lighting, name in tests
            ],
            pipeline=[dict(type='Resize', scale=(64, 48), keep_ratio=True)],
        )
    samples = [dataset[i] for i in range(len(dataset))]
    assert [sample['split'] for sample in samples] == 2 * ['LL-N'] + 6 * ['WL']
    assert {sample['img'].shape for sample in samples} == {(48, 64, 3)}
    assert dataset.metainfo['classes'] == ('person',)
