import json
import re
import shutil
import struct
import zlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import coco_file, person_annotation
from mmengine.dataset import ConcatDataset
from mmpose.datasets.transforms import GenerateTarget, RandomFlip
from mmpose.registry import DATASETS
from PIL import Image

from exlpose_mm.datasets.exlpose import (
    DatasetError,
    ExLPoseDataset,
    ExLPoseOCNDataset,
    MissingFileError,
    PairingError,
    find_annotation,
)
from exlpose_mm.datasets.files import read_pair_file
from exlpose_mm.datasets.transforms.loading import LoadPairedImages

LAYOUTS = [
    ('Annotations', 'ExLPose'),
    ('annotations/ExLPose', ''),
    ('Annotations/ExLPose', 'ExLPose'),
    ('annotations', ''),
    ('', ''),
]
OFFICIAL_PEOPLE = {'LL-N': 1020, 'LL-H': 939, 'LL-E': 830, 'LL-A': 2789}
PERSON = dict(image_id=2, category_id=1, bbox=[1, 2, 30, 40], score=0.7)
LONG = {'LL-N': 'LL-Normal', 'LL-H': 'LL-Hard', 'LL-E': 'LL-Extreme', 'LL-A': 'LL-All'}


def build(root, lighting='paired', ann_file='ExLPose_train_LL.json', **kwargs):
    return ExLPoseDataset(lighting, ann_file, data_root=str(root), **kwargs)


def samples(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def images(root, word):
    return sorted((root / 'ExLPose' / word).iterdir())


def edit_annotations(root, name, change):
    path = root / 'Annotations' / f'ExLPose_{name}.json'
    content = json.loads(path.read_text(encoding='utf-8'))
    change(content)
    path.write_text(json.dumps(content), encoding='utf-8')


@cache
def blank(width, height):
    """A black image's file."""
    return cv2.imencode('.png', np.zeros((height, width, 3), np.uint8))[1].tobytes()


def invariant(path):
    """What the two names of a pair have in common, spelled without regular expressions."""
    head, tail = Path(path).name.split('__gain_')
    return [word for word in head.split('_') if word not in ('bright', 'dark')], tail.split('_')[1:]


# --- Layouts and names -------------------------------------------------------------------


@pytest.mark.parametrize('annotations, folder', LAYOUTS)
@pytest.mark.parametrize('lighting', ['paired', 'low_light', 'well_lit'])
def test_every_layout_is_read_in_place(tmp_path, write_exlpose, annotations, folder, lighting):
    root = write_exlpose(tmp_path, annotations, folder)
    dataset = build(root, lighting)
    assert len(dataset) == 6
    word = 'bright' if lighting == 'well_lit' else 'dark'
    for sample in samples(dataset):
        assert Path(sample['img_path']).parent == root / folder / word


@pytest.mark.parametrize('annotation_folder', ['Annotations/ExLPose-OCN', 'annotations/ExLPose-OCN', 'Annotations'])
@pytest.mark.parametrize('image_folder', ['', 'ExLPose-OCN'])
@pytest.mark.parametrize('named, on_disk', [('A7M3', 'A7M3'), ('PID_A7M3', 'A7M3'), ('A7M3', 'PID_A7M3')])
def test_ocn_layouts(tmp_path, annotation_folder, image_folder, named, on_disk):
    _write_ocn(tmp_path, annotation_folder, image_folder, named, on_disk)
    dataset = ExLPoseOCNDataset(data_root=str(tmp_path), test_mode=True)
    assert [s['split'] for s in samples(dataset)] == ['A7M3']
    assert dataset[0]['lighting'] == 'low_light'
    assert Path(dataset[0]['img_path']) == tmp_path / image_folder / on_disk / 'night.JPG'


def _write_ocn(root, annotation_folder, image_folder, named, on_disk):
    (root / annotation_folder).mkdir(parents=True, exist_ok=True)
    (root / image_folder / on_disk).mkdir(parents=True, exist_ok=True)
    person = person_annotation(0, 7, (10, 10, 40, 60))
    content = coco_file([(7, f'{named}/night.JPG', [person])])
    (root / annotation_folder / 'ExLPose-OC_test_A7M3.json').write_text(json.dumps(content), encoding='utf-8')
    (root / image_folder / on_disk / 'night.JPG').write_bytes(blank(128, 96))


@pytest.mark.parametrize('short, long', LONG.items())
def test_split_names_of_release_and_official_code_are_aliases(tmp_path, short, long):
    for there, asked in ((short, long), (long, short)):
        root = tmp_path / there
        root.mkdir()
        path = root / f'ExLPose_test_{there}.json'
        path.touch()
        assert find_annotation(str(root), f'ExLPose_test_{asked}.json') == str(path)


def test_ocn_spellings_are_aliases(tmp_path):
    path = tmp_path / 'ExLPose-OCN_test_RICOH3.json'
    path.touch()
    assert find_annotation(str(tmp_path), 'ExLPose-OC_test_RICOH3.json') == str(path)


def test_exact_name_wins_over_alias(tmp_path):
    for name in ('LL-A', 'LL-All'):
        (tmp_path / f'ExLPose_test_{name}.json').touch()
    assert find_annotation(str(tmp_path), 'ExLPose_test_LL-All.json').endswith('LL-All.json')
    assert find_annotation(str(tmp_path), 'ExLPose_test_LL-A.json').endswith('LL-A.json')


def test_existing_path_wins(tmp_path, exlpose_root):
    own = tmp_path / 'mine.json'
    shutil.copy(exlpose_root / 'Annotations' / 'ExLPose_test_LL-N.json', own)
    assert find_annotation(str(exlpose_root), str(own)) == str(own)
    relative = 'Annotations/ExLPose_test_LL-N.json'
    assert find_annotation(str(exlpose_root), relative) == str(exlpose_root / relative)
    assert len(build(exlpose_root, 'paired', str(own))) == 3


def test_absolute_path_is_not_replaced_by_a_namesake(tmp_path, exlpose_root):
    with pytest.raises(MissingFileError, match='elsewhere'):
        find_annotation(str(exlpose_root), str(tmp_path / 'elsewhere' / 'ExLPose_train_LL.json'))


def test_missing_annotation_file_names_the_places(exlpose_root):
    with pytest.raises(MissingFileError, match='ExLPose_test_LL-X.json') as error:
        build(exlpose_root, ann_file='ExLPose_test_LL-X.json')
    for place in ('Annotations', 'annotations/ExLPose', 'Annotations/ExLPose-OCN'):
        assert str(exlpose_root / place / 'ExLPose_test_LL-X.json') in str(error.value)


def test_lazy_dataset_needs_no_data(tmp_path):
    dataset = build(tmp_path / 'nothing', lazy_init=True)
    assert dataset.metainfo['num_keypoints'] == 14


def test_data_prefix_is_honoured(tmp_path, write_exlpose):
    root = write_exlpose(tmp_path, 'Annotations', 'elsewhere')
    with pytest.raises(DatasetError):
        build(root, 'low_light')
    dataset = build(root, data_prefix=dict(img='elsewhere'))
    assert Path(dataset[0]['well_lit_path']).parent == root / 'elsewhere' / 'bright'
    root = write_exlpose(tmp_path / 'b', 'Annotations', '')
    with pytest.raises(MissingFileError):
        build(root, 'low_light', data_prefix=dict(img='other'))


# --- Samples -----------------------------------------------------------------------------


def test_metainfo():
    meta = DATASETS.build(dict(type='ExLPoseDataset', lazy_init=True)).metainfo
    names = [meta['keypoint_id2name'][i] for i in range(14)]
    assert names == [
        'left_shoulder',
        'right_shoulder',
        'left_elbow',
        'right_elbow',
        'left_wrist',
        'right_wrist',
        'left_hip',
        'right_hip',
        'left_knee',
        'right_knee',
        'left_ankle',
        'right_ankle',
        'head',
        'neck',
    ]
    assert meta['flip_indices'] == [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]
    sigmas = [0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079]
    np.testing.assert_allclose(meta['sigmas'], sigmas, rtol=1e-6)
    assert len(meta['skeleton_links']) == 13
    assert len(meta['upper_body_ids']) + len(meta['lower_body_ids']) == 14


def test_pairs_share_all_but_word_and_gain(exlpose_root):
    for sample in samples(build(exlpose_root)):
        low_light, well_lit = sample['img_path'], sample['well_lit_path']
        assert '_dark_' in low_light and '_bright_' in well_lit
        assert invariant(low_light) == invariant(well_lit)
        assert low_light.replace('dark', 'bright') != well_lit
        assert 'lighting' not in sample


@pytest.mark.parametrize(
    'name, lighting, split',
    [
        ('train_LL', 'paired', 'LL'),
        ('train_LL', 'low_light', 'LL'),
        ('train_LL', 'well_lit', 'WL'),
        ('train_WL', 'well_lit', 'WL'),
        ('train_WL', 'paired', 'LL'),
        ('test_WL', 'well_lit', 'WL'),
        ('test_WL', 'low_light', 'LL-A'),
        ('test_LL-E', 'low_light', 'LL-E'),
        ('test_LL-A', 'well_lit', 'WL'),
        ('test_LL-A', 'paired', 'LL-A'),
    ],
)
def test_split_and_lighting_of_samples(exlpose_root, name, lighting, split):
    dataset = build(exlpose_root, lighting, f'ExLPose_{name}.json')
    assert {s['split'] for s in samples(dataset)} == {split}
    if lighting != 'paired':
        assert {s['lighting'] for s in samples(dataset)} == {lighting}
    word = 'bright' if lighting == 'well_lit' else 'dark'
    assert all(f'/{word}/' in s['img_path'] for s in samples(dataset))


def test_split_argument_wins_and_long_names_are_short_rows(exlpose_root):
    annotations = exlpose_root / 'Annotations'
    (annotations / 'ExLPose_test_LL-H.json').rename(annotations / 'ExLPose_test_LL-Hard.json')
    assert build(exlpose_root, ann_file='ExLPose_test_LL-Hard.json')[0]['split'] == 'LL-H'
    assert build(exlpose_root, ann_file='ExLPose_test_LL-H.json')[0]['split'] == 'LL-H'
    assert build(exlpose_root, ann_file='ExLPose_test_LL-Hard.json', split='mine')[0]['split'] == 'mine'


@pytest.mark.parametrize('test_mode', [False, True])
@pytest.mark.parametrize('data_mode', ['topdown', 'bottomup'])
def test_people_without_a_labelled_joint_are_left_out(exlpose_root, test_mode, data_mode):
    dataset = build(exlpose_root, 'low_light', 'ExLPose_test_LL-H.json', test_mode=test_mode, data_mode=data_mode)
    ids = np.hstack([s['id'] for s in samples(dataset)])
    assert sorted(ids) == [3, 4, 5]
    counts = np.hstack([s['num_keypoints'] for s in samples(dataset)])
    assert list(counts) == [14, 14, 14]


@pytest.mark.parametrize('lighting', ['paired', 'low_light', 'well_lit'])
def test_without_labels_every_box_is_a_person_without_joints(exlpose_root, lighting):
    dataset = build(exlpose_root, lighting, 'ExLPose_test_LL-H.json', unlabelled=True)
    assert sorted(np.hstack([s['id'] for s in samples(dataset)])) == [3, 4, 5, 90]
    for sample in samples(dataset):
        assert not sample['keypoints'].any() and not sample['keypoints_visible'].any()
        assert sample['num_keypoints'] == 0 and not any(sample['raw_ann_info']['keypoints'])


def test_visible_and_occluded_joints_are_told_apart(exlpose_root):
    visible = build(exlpose_root)[0]['keypoints_visible']
    assert visible.shape == (1, 14, 2) and visible.dtype == np.float32
    assert visible[0, :, 0].tolist() == [1] * 14
    assert visible[0, :, 1].tolist() == [1] * 4 + [0] + [1] * 9
    assert build(exlpose_root, test_mode=True)[0]['keypoints_visible'].tolist() == [[1] * 14]


@pytest.mark.parametrize(
    'encoder, key',
    [
        (dict(type='MSRAHeatmap', input_size=(48, 64), heatmap_size=(12, 16), sigma=2), 'heatmaps'),
        (dict(type='MegviiHeatmap', input_size=(48, 64), heatmap_size=(12, 16), kernel_size=7), 'heatmaps'),
        (dict(type='SimCCLabel', input_size=(48, 64)), 'keypoint_x_labels'),
    ],
)
def test_ordinary_codecs_see_labelled_joints(exlpose_root, encoder, key):
    """The same targets as from plain (1, K) visibilities; the rest is there for who asks."""
    info = build(exlpose_root)[0]
    info['keypoints'] = info['keypoints'] / 4
    plain = {**info, 'keypoints_visible': info['keypoints_visible'][..., 0]}
    ours, theirs = (GenerateTarget(encoder).transform(dict(i)) for i in (info, plain))
    assert np.abs(theirs[key]).max() > 0
    np.testing.assert_array_equal(ours[key], theirs[key])
    np.testing.assert_array_equal(ours['keypoint_weights'], theirs['keypoint_weights'])
    assert ours['keypoints_visible'].shape == (1, 14)
    assert ours['keypoints_visible_weights'][0, 4] == 0


def test_flip_swaps_both_visibilities(exlpose_root):
    info = build(exlpose_root)[0]
    info['img'] = np.zeros((96, 128, 3), np.uint8)
    info['img_shape'] = (96, 128)
    visible = RandomFlip(prob=1.0).transform(info)['keypoints_visible']
    assert visible.shape == (1, 14, 2)
    assert visible[0, :, 1].tolist() == [1] * 5 + [0] + [1] * 8


def test_detected_boxes(exlpose_root, tmp_path):
    boxes = [
        dict(image_id=2, category_id=1, bbox=[1, 2, 30, 40], score=0.7),
        dict(image_id=3, category_id=1, bbox=[5, 6, 30, 40], score=0.4),
    ]
    (tmp_path / 'boxes.json').write_text(json.dumps(boxes), encoding='utf-8')
    dataset = build(
        exlpose_root, 'low_light', 'ExLPose_test_LL-H.json', test_mode=True, bbox_file=str(tmp_path / 'boxes.json')
    )
    assert [(s['img_id'], s['split'], s['lighting']) for s in samples(dataset)] == [
        (2, 'LL-H', 'low_light'),
        (3, 'LL-H', 'low_light'),
    ]
    assert dataset[0]['bbox'].tolist() == [[1, 2, 31, 42]]
    folders = {Path(s['img_path']).parent for s in samples(dataset)}
    assert folders == {exlpose_root / 'ExLPose' / 'dark'}


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'tools/detect_people.py'),
        ([], 'no detection of a person'),
        ([dict(image_id=2, category_id=3, bbox=[1, 2, 30, 40], score=0.7)], 'no detection of a person'),
        (dict(images=[]), 'list of COCO detections'),
        ([dict(image_id=2, category_id=1, score=0.7)], 'list of COCO detections'),
        ([dict(image_id=77, category_id=1, bbox=[1, 2, 30, 40], score=0.7)], '77'),
        ([dict(image_id=2.0, category_id=1, bbox=[1, 2, 30, 40], score=0.7)], 'image ids, such as 2.0'),
        ([PERSON, dict(PERSON, bbox=[1, 2, float('nan'), 40])], 'detection 1 has no box of four numbers'),
        ([PERSON, dict(PERSON, bbox=[1, 2, -30, 40])], 'detection 1 has a box without area'),
        ([PERSON, dict(PERSON, bbox=[1, 2, 30, 0])], 'detection 1 has a box without area'),
        ([PERSON, dict(PERSON, bbox=[500, 2, 30, 40])], 'detection 1 has a box outside its frame'),
        ([PERSON, dict(PERSON, bbox=[0, 0, 1e9, 1e9])], 'detection 1 has a box of more than 20 times its frame'),
        ([PERSON, dict(PERSON, score=float('nan'))], 'detection 1 has the score nan'),
        ([PERSON, dict(PERSON, score=-0.1)], 'detection 1 has the score -0.1'),
        ([PERSON, dict(PERSON, score=0)], 'detection 1 has the score 0'),
        ([PERSON, dict(PERSON, score='high')], "detection 1 has the score 'high'"),
    ],
)
def test_a_bad_box_file_is_refused(exlpose_root, tmp_path, content, message):
    path = tmp_path / 'boxes.json'
    if content is not None:
        path.write_text(json.dumps(content), encoding='utf-8')
    with pytest.raises(DatasetError, match=message) as error:
        build(exlpose_root, 'low_light', 'ExLPose_test_LL-H.json', test_mode=True, bbox_file=str(path))
    assert str(path) in str(error.value)


def test_boxes_at_the_edge_of_the_frame_keep_their_last_pixel(exlpose_root):
    path = exlpose_root / 'Annotations' / 'ExLPose_test_LL-H.json'
    content = json.loads(path.read_text(encoding='utf-8'))
    for annotation in content['annotations']:
        annotation['bbox'] = [-1, 2, 129, 94]  # the frame is 128 x 96
    path.write_text(json.dumps(content), encoding='utf-8')
    dataset = build(exlpose_root, 'low_light', path.name, test_mode=True)
    assert dataset[0]['bbox'].tolist() == [[-1, 2, 128, 96]]


def test_splits_concatenate(exlpose_root):
    parts = [build(exlpose_root, 'low_light', f'ExLPose_test_LL-{level}.json', test_mode=True) for level in 'NHE']
    joint = ConcatDataset(parts)
    assert [joint[i]['split'] for i in range(len(joint))] == ['LL-N'] * 3 + ['LL-H'] * 3 + ['LL-E'] * 3


# --- Pairing -----------------------------------------------------------------------------


def test_bright_names_in_a_low_light_file(exlpose_root):
    """As in the official code's own annotation files."""
    dark, bright = (build(exlpose_root, 'low_light', f'ExLPose_train_{name}.json') for name in ('LL', 'WL'))
    assert [s['img_path'] for s in samples(dark)] == [s['img_path'] for s in samples(bright)]


def test_bare_names_are_looked_for_in_the_folder_of_their_lighting(exlpose_root):
    expected = [s['img_path'] for s in samples(build(exlpose_root))]
    edit_annotations(
        exlpose_root,
        'train_LL',
        lambda content: [image.update(file_name=Path(image['file_name']).name) for image in content['images']],
    )
    assert [s['img_path'] for s in samples(build(exlpose_root))] == expected


def _renamed_pairs(root):
    """Give the training images names that do not tell the pairs; return the pair file's lines."""
    content = json.loads((root / 'Annotations' / 'ExLPose_train_LL.json').read_text(encoding='utf-8'))
    lines, brights = [], images(root, 'bright')
    for number, image in enumerate(content['images']):
        dark = root / 'ExLPose' / image['file_name']
        bright = next(p for p in brights if invariant(p) == invariant(dark))
        dark.rename(dark.with_name(f'{number:05d}.png'))
        bright.rename(bright.with_name(f'{9 - number:05d}.png'))
        image['file_name'] = f'dark/{number:05d}.png'
        lines.append((f'{9 - number:05d}.png', f'{number:05d}.png'))
    (root / 'Annotations' / 'ExLPose_train_LL.json').write_text(json.dumps(content), encoding='utf-8')
    return lines


@pytest.mark.parametrize('bright_prefix, dark_prefix', [('bright/', 'dark/'), ('', ''), ('ExLPose/bright/', '')])
def test_pair_file(exlpose_root, bright_prefix, dark_prefix):
    lines = _renamed_pairs(exlpose_root)
    with pytest.raises(PairingError, match=r'00000\.png.*3 more of 4'):
        build(exlpose_root)
    text = '\n'.join(f'{bright_prefix}{bright} {dark_prefix}{dark}' for bright, dark in lines) + '\n\n'
    (exlpose_root / 'brightPath2darkPath.txt').write_text(text, encoding='utf-8')
    found = {(Path(s['well_lit_path']).name, Path(s['img_path']).name) for s in samples(build(exlpose_root))}
    assert found == set(lines)
    assert Path(build(exlpose_root, 'well_lit')[0]['img_path']).name == '00009.png'


def test_pair_file_argument(exlpose_root):
    lines = _renamed_pairs(exlpose_root)
    (exlpose_root / 'pairs.txt').write_text('\n'.join(map(' '.join, lines)), encoding='utf-8')
    assert len(build(exlpose_root, pair_file='pairs.txt')) == 6
    assert len(build(exlpose_root, pair_file=str(exlpose_root / 'pairs.txt'))) == 6
    with pytest.raises(MissingFileError, match='none.txt'):
        build(exlpose_root, pair_file='none.txt')


def test_images_that_the_pair_file_leaves_out_are_paired_by_name(exlpose_root):
    (exlpose_root / 'brightPath2darkPath.txt').write_text('bright/a.png dark/b.png\n', encoding='utf-8')
    assert len(build(exlpose_root)) == 6


def test_a_pair_file_that_is_not_utf_8(exlpose_root):
    (exlpose_root / 'brightPath2darkPath.txt').write_bytes('bright/größe.png dark/größe.png\n'.encode('latin-1'))
    with pytest.raises(DatasetError, match='brightPath2darkPath.txt, line 1 is not UTF-8.*save the file in this'):
        build(exlpose_root)


def test_a_pair_file_with_a_byte_order_mark(exlpose_root):
    """As an editor on Windows writes it."""
    names = [image.name for word in ('bright', 'dark') for image in (images(exlpose_root, word)[:2])]
    lines = f'{names[0]} {names[3]}\n{names[1]} {names[2]}\n'
    (exlpose_root / 'brightPath2darkPath.txt').write_text(lines, encoding='utf-8-sig')
    found = read_pair_file(str(exlpose_root / 'brightPath2darkPath.txt'))
    assert found[names[0], 'low_light'] == {names[3]} and found[names[1], 'low_light'] == {names[2]}


def test_ambiguous_pair_file(exlpose_root):
    (bright, dark), (other, _) = _renamed_pairs(exlpose_root)[:2]
    (exlpose_root / 'brightPath2darkPath.txt').write_text(f'x/{bright} {dark}\ny/{other} {dark}\n', encoding='utf-8')
    with pytest.raises(PairingError, match=f'ambiguous: {other}, {bright}'):
        build(exlpose_root)


@pytest.mark.parametrize(
    'line',
    [
        'only_one.png',
        'a.png b.png c.png',
        'dark/a.png bright/b.png',
        'x_dark_1.png y_bright_1.png',
        'dark/a.png dark/b.png',
    ],
)
def test_unreadable_pair_file(exlpose_root, line):
    (exlpose_root / 'brightPath2darkPath.txt').write_text(f'bright/x.png dark/y.png\n{line}\n', encoding='utf-8')
    with pytest.raises(DatasetError, match='line 2.*bright path'):
        build(exlpose_root)


def test_missing_partner_names_file_and_key_and_counts(exlpose_root):
    for image in images(exlpose_root, 'bright'):
        image.unlink()
    with pytest.raises(PairingError) as error:
        build(exlpose_root)
    message = str(error.value)
    assert re.search(r'dark/imgs_0212_place_vid000100_exp400_dark_\S+\.png: no bright partner', message)
    assert 'imgs_0212_place_vid000100_exp400_*_000052__gain_*_exposure_1250.png' in message
    assert '3 more of 4 images' in message


def test_ambiguous_partner(exlpose_root):
    image = next(p for p in images(exlpose_root, 'bright') if 'vid000100' in p.name)
    twin = image.with_name(image.name.replace('gain_3.40', 'gain_9.99'))
    shutil.copy(image, twin)
    with pytest.raises(PairingError, match='ambiguous') as error:
        build(exlpose_root)
    assert image.name in str(error.value) and twin.name in str(error.value)
    assert 'more of' not in str(error.value)


def test_one_well_lit_image_for_two_low_light_ones(exlpose_root):
    dark = next(p for p in images(exlpose_root, 'dark') if 'vid000101' in p.name)
    twin = dark.with_name(dark.name.replace('gain_0.00', 'gain_7.77'))
    shutil.copy(dark, twin)
    edit_annotations(
        exlpose_root, 'train_LL', lambda content: content['images'][0].update(file_name=f'dark/{twin.name}')
    )
    with pytest.raises(PairingError, match='partner of both') as error:
        build(exlpose_root)
    assert dark.name in str(error.value) and twin.name in str(error.value)


def test_partner_of_another_size(exlpose_root):
    image = next(p for p in images(exlpose_root, 'bright') if 'vid000100' in p.name)
    Image.new('RGB', (64, 48)).save(image)
    with pytest.raises(PairingError, match=r'\(128, 96\).*\(64, 48\)') as error:
        build(exlpose_root)
    assert 'dark' in str(error.value) and str(image) in str(error.value)


HEADER = struct.pack('>4s2L5B', b'IHDR', 20000, 15000, 8, 2, 0, 0, 0)
HUGE = b'\x89PNG\r\n\x1a\n' + struct.pack('>L17sLL4s', 13, HEADER, zlib.crc32(HEADER), 0, b'IDAT')
DEEP = np.full((96, 128, 3), 200, np.uint16)  # a dark image, whose upper 8 bits are all zero


def png(image):
    return cv2.imencode('.png', image)[1].tobytes()


@pytest.mark.parametrize(
    'content, message',
    [
        pytest.param(b'', 'not a readable image', id='empty'),
        pytest.param(b'no image', 'not a readable image', id='text'),
        pytest.param(HUGE, '300000000 pixels', id='huge'),
        pytest.param(png(DEEP), 'more than 8 bits', id='16 bits'),
        pytest.param(png(DEEP[..., 0]), 'more than 8 bits', id='16 bits grey'),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_before_training(exlpose_root, content, message):
    image = images(exlpose_root, 'bright')[-1]
    image.write_bytes(content)
    for lighting in ('paired', 'well_lit'):
        with pytest.raises(DatasetError, match=f'{image.name} .*{message}'):
            build(exlpose_root, lighting)


@pytest.mark.parametrize('channels', [1, 4])
def test_grey_images_and_those_with_an_alpha_channel_work(exlpose_root, channels):
    person = build(exlpose_root)[0]
    dark, bright = (cv2.imread(person[key])[..., :1].repeat(3, axis=2) for key in ('img_path', 'well_lit_path'))
    alpha = np.full((*dark.shape[:2], 1), 7, np.uint8)
    Path(person['img_path']).write_bytes(png(dark[..., 0] if channels == 1 else np.dstack([dark, alpha])))
    Path(person['well_lit_path']).write_bytes(png(bright))
    for image, same in zip(LoadPairedImages().transform(build(exlpose_root)[0])['img'], (dark, bright)):
        np.testing.assert_array_equal(image, same)


# --- Other errors ------------------------------------------------------------------------


@pytest.mark.parametrize('lighting, word', [('low_light', 'dark'), ('well_lit', 'bright'), ('paired', 'dark')])
def test_missing_image(exlpose_root, lighting, word):
    gone = [p for p in images(exlpose_root, word) if re.search('vid00010[01]', p.name)]
    for image in gone:
        image.unlink()
    file = 'ExLPose_train_WL.json' if lighting == 'well_lit' else 'ExLPose_train_LL.json'
    with pytest.raises(MissingFileError, match='1 more of 4 images') as error:
        build(exlpose_root, lighting, file)
    assert gone[0].name in str(error.value)


def test_unknown_lighting():
    with pytest.raises(DatasetError, match="'dusk'.*'paired', 'low_light', 'well_lit'"):
        ExLPoseDataset('dusk')


def test_a_wrong_annotation_file_is_refused_by_the_data_set(exlpose_root):
    edit_annotations(
        exlpose_root, 'train_LL', lambda content: content['annotations'][2].update(keypoints=[1, 1, 2] * 17)
    )
    with pytest.raises(DatasetError, match=r'train_LL\.json: annotation 152 has 17 keypoints'):
        build(exlpose_root)


def test_nobody_has_joints(exlpose_root):
    edit_annotations(
        exlpose_root,
        'train_LL',
        lambda content: [person.update(keypoints=42 * [0]) for person in content['annotations']],
    )
    with pytest.raises(DatasetError, match=r'train_LL\.json has no person with a labelled joint; with unlabelled=True'):
        build(exlpose_root)
    assert len(build(exlpose_root, unlabelled=True)) == 6


@pytest.mark.parametrize('name', ['/etc/{}', '../{}', 'dark/../../{}', '..\\{}'])
def test_paths_that_leave_the_data_root(exlpose_root, name):
    def change(content):
        image = content['images'][0]
        image['file_name'] = name.format(Path(image['file_name']).name)

    edit_annotations(exlpose_root, 'train_LL', change)
    with pytest.raises(DatasetError, match=r'train_LL\.json: file_name .* leads out of the data root'):
        build(exlpose_root, 'low_light')


def test_links_on_the_disk_are_followed(exlpose_root, tmp_path):
    (exlpose_root / 'ExLPose').rename(tmp_path / 'elsewhere')
    (exlpose_root / 'ExLPose').symlink_to(tmp_path / 'elsewhere')
    assert len(build(exlpose_root)) == 6


def test_ocn_without_camera_name(tmp_path):
    with pytest.raises(DatasetError, match="'night.json' names no camera"):
        ExLPoseOCNDataset('night.json', str(tmp_path))
    assert ExLPoseOCNDataset('night.json', str(tmp_path), split='A7M3', lazy_init=True).split == 'A7M3'


# --- The official files ------------------------------------------------------------------


@pytest.mark.parametrize('split, people', OFFICIAL_PEOPLE.items())
@pytest.mark.parametrize('lighting', ['low_light', 'well_lit'])
def test_official_counts(official_dir, tmp_path, split, people, lighting):
    """The official annotation files name bright images; black ones stand for them."""
    source = official_dir / f'ExLPose_test_{LONG[split]}.json'
    shutil.copy(source, tmp_path)
    _touch_images(tmp_path, json.loads(source.read_text(encoding='utf-8'))['images'], lighting)
    dataset = build(tmp_path, lighting, f'ExLPose_test_{split}.json', test_mode=True)
    assert len(dataset) == people
    assert dataset[0]['split'] == ('WL' if lighting == 'well_lit' else split)


def _touch_images(root, entries, lighting):
    folder = root / ('bright' if lighting == 'well_lit' else 'dark')
    folder.mkdir()
    for entry in entries:
        name = Path(entry['file_name']).name
        if lighting == 'low_light':
            head, tail = name.split('__gain_')
            name = f'{head.replace("_bright_", "_dark_")}__gain_6.60_{tail.split("_", 1)[1]}'
        (folder / name).write_bytes(blank(entry['width'], entry['height']))


def test_official_night_photographs(official_dir, tmp_path):
    source = official_dir / 'ExLPose-OC_test_A7M3.json'
    shutil.copy(source, tmp_path)
    (tmp_path / 'A7M3').mkdir()
    for image in json.loads(source.read_text(encoding='utf-8'))['images']:
        path = tmp_path / 'A7M3' / Path(image['file_name']).name
        path.write_bytes(blank(image['width'], image['height']))
    dataset = ExLPoseOCNDataset(data_root=str(tmp_path), test_mode=True)
    assert len(dataset) == 466
    assert len({s['img_path'] for s in samples(dataset)}) == 180


def test_two_real_frames(official_dir):
    """Bare names, the images beside the annotation file."""
    dataset = build(official_dir, 'low_light', 'test_exlpose.json', test_mode=True)
    assert len(dataset) == 6
    paths = {s['img_path'] for s in samples(dataset)}
    assert len(paths) == 2
    for path in paths:
        assert Image.open(path).size == (1919, 1198)
    with pytest.raises(PairingError, match='no bright partner.*1 more of 2'):
        build(official_dir, 'paired', 'test_exlpose.json')
