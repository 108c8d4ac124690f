"""A detector's boxes, and their way into the data sets and the metric."""

import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS

from exlpose_mm.apis.detection import (
    DetectionError,
    as_annotations,
    brightened,
    detect_people,
    list_images,
    load_detector,
)
from exlpose_mm.datasets.exlpose import ExLPoseDataset
from exlpose_mm.datasets.transforms.loading import ImageError
from exlpose_mm.evaluation.metric import LightingCocoMetric

ROOT = Path(__file__).resolve().parents[2]
WORDS = dict(low_light='dark', well_lit='bright')
# RTMDet-tiny on small images, with two classes of which the second one is a person.
DETECTOR = """
_base_ = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
model = dict(bbox_head=dict(num_classes=2), test_cfg=dict(max_per_img=20))
test_dataloader = dict(dataset=dict(pipeline=[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 96), keep_ratio=True),
    dict(type='Pad', size=(96, 128), pad_val=dict(img=(114, 114, 114))),
    dict(type='PackDetInputs',
         meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
"""


def save_detector(folder, classes):
    """Files of a random detector that finds something everywhere."""
    config, checkpoint = folder / 'detector.py', folder / f'{"_".join(classes)}.pth'
    config.write_text(DETECTOR, encoding='utf-8')
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(config).model)
    for classify, regress in zip(model.bbox_head.rtm_cls, model.bbox_head.rtm_reg):
        torch.nn.init.normal_(classify.weight, std=50.0)  # an untrained network's features are tiny
        torch.nn.init.zeros_(classify.bias)
        torch.nn.init.constant_(regress.bias, 2.0)
    torch.save(dict(meta=dict(dataset_meta=dict(CLASSES=classes)), state_dict=model.state_dict()), checkpoint)
    return str(config), str(checkpoint)


@pytest.fixture(scope='module')
def detector_files(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp('detector'), ('car', 'person'))


@pytest.fixture(scope='module')
def detector(detector_files):
    return load_detector(*detector_files)


def tool():
    """The command line's module."""
    spec = importlib.util.spec_from_file_location('detect_people', ROOT / 'tools' / 'detect_people.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def contents(root, split):
    return json.loads((root / 'Annotations' / f'ExLPose_test_{split}.json').read_text(encoding='utf-8'))


def samples(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


# --- Detection ---------------------------------------------------------------------------


@pytest.mark.parametrize('name', WORDS)
@pytest.mark.parametrize('split', ['LL-H', 'WL'])
def test_every_image_is_listed_under_either_lighting(exlpose_root, name, split):
    images = list_images(f'ExLPose_test_{split}.json', str(exlpose_root), name)
    assert list(images) == [image['id'] for image in contents(exlpose_root, split)['images']]
    assert {Path(path).parent.name for path in images.values()} == {WORDS[name]}
    assert all(f'vid{image_id:06d}' in path for image_id, path in images.items())


def test_an_image_without_labels_is_listed(exlpose_root):
    path = exlpose_root / 'Annotations' / 'ExLPose_test_LL-N.json'
    content = contents(exlpose_root, 'LL-N')
    content['annotations'] = [a for a in content['annotations'] if a['image_id'] == 0]
    path.write_text(json.dumps(content), encoding='utf-8')
    assert list(list_images(path.name, str(exlpose_root), 'low_light')) == [0, 1]


def test_dark_images_are_brightened_and_clipped():
    dark = np.zeros((10, 10, 3), np.uint8)
    dark[:2] = (1, 2, 4)
    dark[9, 9] = 200
    expected = dark * (102 / dark.astype(float).mean((0, 1)))
    assert expected.max() > 255
    bright = brightened(dark, 'low_light')
    assert bright.dtype == np.uint8
    assert np.abs(bright - np.minimum(expected, 255)).max() <= 0.51
    assert (brightened(dark, 'well_lit') == dark).all()
    with pytest.raises(ValueError, match="unknown lighting 'lit'"):
        brightened(dark, 'lit')


@pytest.mark.parametrize('name', WORDS)
def test_boxes_are_the_detectors_people(detector, exlpose_root, name):
    """Against MMDetection called on the image and read here."""
    images = list_images('ExLPose_test_LL-N.json', str(exlpose_root), name)
    found, errors = detect_people(detector, images, name, score_thr=0.4)
    assert not errors and {d['image_id'] for d in found} == set(images)
    for image_id, path in images.items():
        image = cv2.imread(path).astype(float)
        if name == 'low_light':
            image *= 102 / image.mean((0, 1))
        with DefaultScope.overwrite_default_scope('mmdet'):
            everything = inference_detector(
                detector, np.minimum(image.round(), 255).astype(np.uint8)
            ).pred_instances.numpy()
        assert {0, 1} == set(everything.labels)
        people = [
            (box, score)
            for box, label, score in zip(everything.bboxes, everything.labels, everything.scores)
            if label == 1 and score >= 0.4
        ]
        ours = [d for d in found if d['image_id'] == image_id]
        assert len(ours) == len(people) > 0
        for detection, (box, score) in zip(ours, people):
            x, y, w, h = detection['bbox']
            assert np.allclose([x, y, x + w, y + h], box, atol=0.01) and min(w, h) >= 1
            assert detection['score'] == pytest.approx(score, abs=1e-4)
            assert detection['category_id'] == 1


def test_score_threshold(detector, exlpose_root):
    images = list_images('ExLPose_test_LL-N.json', str(exlpose_root), 'well_lit')
    everyone, _ = detect_people(detector, images, 'well_lit', score_thr=0)
    middle = float(np.median([d['score'] for d in everyone]))
    best, _ = detect_people(detector, images, 'well_lit', score_thr=middle)
    assert best == [d for d in everyone if d['score'] >= middle] and 0 < len(best) < len(everyone)


def test_unreadable_images_are_left_out(detector, exlpose_root):
    images = list_images('ExLPose_test_LL-A.json', str(exlpose_root), 'low_light')
    Path(images[1]).write_bytes(b'no image')
    Path(images[4]).unlink()
    calls = []
    found, errors = detect_people(detector, images, 'low_light', progress=lambda: calls.append(1))
    assert {d['image_id'] for d in found} == {0, 2, 3, 5} and len(calls) == 6
    assert all(isinstance(error, ImageError) for error in errors)
    assert [images[i] in str(error) for i, error in zip((1, 4), errors)] == [True, True]


def test_the_scope_stays_mmpose(detector_files, exlpose_root):
    images = list_images('ExLPose_test_LL-N.json', str(exlpose_root), 'low_light')
    found, _ = detect_people(load_detector(*detector_files), {0: images[0]}, 'low_light')
    assert found and DefaultScope.get_current_instance().scope_name == 'mmpose'


def test_a_detector_without_people_is_refused(tmp_path):
    with pytest.raises(DetectionError, match="cat_dog.pth detects .*'cat', 'dog'.* not 'person'"):
        load_detector(*save_detector(tmp_path, ('cat', 'dog')))


# --- The file in the data set and the metric ---------------------------------------------


@pytest.mark.parametrize('on', WORDS)
def test_command_line_to_data_set(detector_files, exlpose_root, tmp_path, on):
    out = tmp_path / 'boxes' / 'people.json'
    tool().main(
        [
            *detector_files,
            'ExLPose_test_LL-A.json',
            str(out),
            '--data-root',
            str(exlpose_root),
            '--on',
            on,
            '--device',
            'cpu',
        ]
    )
    people = json.loads(out.read_text(encoding='utf-8'))
    assert {p['image_id'] for p in people} == set(range(6))
    for lighting, word in WORDS.items():
        dataset = ExLPoseDataset(
            lighting, 'ExLPose_test_LL-A.json', str(exlpose_root), test_mode=True, bbox_file=str(out)
        )
        assert len(dataset) == len(people)
        for sample, person in zip(samples(dataset), people):
            x, y, w, h = person['bbox']
            assert sample['img_id'] == person['image_id'] and sample['lighting'] == lighting
            assert Path(sample['img_path']).parent.name == word
            assert f'vid{person["image_id"]:06d}' in sample['img_path']
            assert np.allclose(sample['bbox'], [[x, y, x + w, y + h]])
            assert np.allclose(sample['bbox_score'], person['score'])


def test_command_line_to_training_without_labels(detector_files, exlpose_root, tmp_path):
    out = tmp_path / 'people.json'
    tool().main(
        [
            *detector_files,
            'ExLPose_train_LL.json',
            str(out),
            '--data-root',
            str(exlpose_root),
            '--unlabelled',
            '--device',
            'cpu',
        ]
    )
    people = json.loads(out.read_text(encoding='utf-8'))['annotations']
    dataset = ExLPoseDataset('low_light', str(out), str(exlpose_root), unlabelled=True)
    assert len(dataset) == len(people) > 4
    for sample, person in zip(samples(dataset), people):
        x, y, w, h = person['bbox']
        assert np.allclose(sample['bbox'], [[x, y, x + w, y + h]])
        assert not sample['keypoints'].any() and not sample['keypoints_visible'].any()


def test_command_line_reports_unreadable_images(detector_files, exlpose_root, tmp_path):
    broken = sorted((exlpose_root / 'ExLPose' / 'dark').iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:60])
    out = tmp_path / 'people.json'
    with pytest.raises(SystemExit, match=f'1 images were left out:\n.*{broken.name}'):
        tool().main(
            [*detector_files, 'ExLPose_test_LL-N.json', str(out), '--data-root', str(exlpose_root), '--device', 'cpu']
        )
    assert {p['image_id'] for p in json.loads(out.read_text(encoding='utf-8'))} == {1}


def test_command_line_names_a_missing_file(detector_files, exlpose_root, tmp_path):
    with pytest.raises(SystemExit, match="no annotation file 'nothing.json'"):
        tool().main([*detector_files, 'nothing.json', str(tmp_path / 'people.json'), '--data-root', str(exlpose_root)])


def renumber(root, split, number):
    """People become a category of this number, a dog is number 1 and has as many joints."""
    path = root / 'Annotations' / f'ExLPose_test_{split}.json'
    content = contents(root, split)
    for annotation in content['annotations']:
        annotation['category_id'] = number
    content['categories'][0].update(id=number)
    content['categories'].insert(0, dict(id=1, name='dog'))
    dog = dict(content['annotations'][0], id=800, category_id=1)
    path.write_text(json.dumps({**content, 'annotations': [dog, *content['annotations']]}), encoding='utf-8')


@pytest.mark.parametrize('detected', [False, True])
def test_people_may_be_any_category(exlpose_root, tmp_path, detected):
    people = boxes_of(exlpose_root, 'LL-N', tmp_path / 'boxes.json')
    renumber(exlpose_root, 'LL-N', 5)
    dataset = ExLPoseDataset(
        'low_light',
        'ExLPose_test_LL-N.json',
        str(exlpose_root),
        test_mode=True,
        pipeline=Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'exlpose_pairs.py').test_pipeline,
        **(dict(bbox_file=str(tmp_path / 'boxes.json')) if detected else {}),
    )
    assert len(dataset) == len(people) == 3
    packed = [dataset[i]['data_samples'].to_dict() for i in range(len(dataset))]
    for sample, person in zip(packed, people):
        joints = np.reshape(person['keypoints'], (1, 14, 3))[..., :2]
        sample['pred_instances'] = dict(keypoints=joints, keypoint_scores=np.ones((1, 14)))
    metric = LightingCocoMetric({'LL-N': 'ExLPose_test_LL-N.json'}, str(exlpose_root))
    metric.dataset_meta = dataset.metainfo
    metric.process([], packed)
    assert metric.evaluate(len(packed))['LL-N/AP'] == pytest.approx(1)


def test_people_without_labels_are_no_dogs(exlpose_root, tmp_path):
    renumber(exlpose_root, 'LL-N', 5)
    dataset = ExLPoseDataset('low_light', 'ExLPose_test_LL-N.json', str(exlpose_root), unlabelled=True)
    assert len(dataset) == 3
    written = as_annotations(
        [dict(image_id=0, bbox=[1, 2, 30, 40], score=0.9)], 'ExLPose_test_LL-N.json', str(exlpose_root)
    )
    (tmp_path / 'found.json').write_text(json.dumps(written), encoding='utf-8')
    assert len(ExLPoseDataset('low_light', str(tmp_path / 'found.json'), str(exlpose_root), unlabelled=True)) == 1


def boxes_of(root, split, path):
    """A detection file of the annotated boxes of labelled people, and these people."""
    people = [a for a in contents(root, split)['annotations'] if any(a['keypoints'][2::3])]
    path.write_text(
        json.dumps([dict(image_id=p['image_id'], category_id=1, bbox=p['bbox'], score=0.5) for p in people]),
        encoding='utf-8',
    )
    return people


@pytest.mark.parametrize('split', ['LL-N', 'LL-H', 'LL-E', 'LL-A', 'WL'])
@pytest.mark.parametrize('lighting', [*WORDS, 'paired'])
def test_every_split_and_lighting_reads_detections(exlpose_root, tmp_path, split, lighting):
    people = boxes_of(exlpose_root, split, tmp_path / 'boxes.json')
    dataset = ExLPoseDataset(
        lighting,
        f'ExLPose_test_{split}.json',
        str(exlpose_root),
        test_mode=True,
        bbox_file=str(tmp_path / 'boxes.json'),
    )
    assert [s['img_id'] for s in samples(dataset)] == [p['image_id'] for p in people]
    for sample in samples(dataset):
        assert Path(sample['img_path']).parent.name == WORDS.get(lighting, 'dark')
        if lighting == 'paired':
            assert Path(sample['well_lit_path']).parent.name == 'bright'


@pytest.mark.parametrize('lighting, split', [('low_light', 'LL-N'), ('well_lit', 'WL')])
def test_the_metric_takes_detected_people(exlpose_root, tmp_path, lighting, split):
    """Exact joints in detected boxes are AP 1; one person missed of several is less."""
    people = boxes_of(exlpose_root, split, tmp_path / 'boxes.json')
    pipeline = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'exlpose_pairs.py').test_pipeline
    dataset = ExLPoseDataset(
        lighting,
        f'ExLPose_test_{split}.json',
        str(exlpose_root),
        test_mode=True,
        bbox_file=str(tmp_path / 'boxes.json'),
        pipeline=pipeline,
    )
    packed = [dataset[i]['data_samples'].to_dict() for i in range(len(dataset))]
    for sample, person in zip(packed, people):
        joints = np.reshape(person['keypoints'], (1, 14, 3))[..., :2]
        sample['pred_instances'] = dict(keypoints=joints, keypoint_scores=np.ones((1, 14)))
    assert [s['split'] for s in packed] == [split] * len(people)

    def average_precision(data_samples):
        metric = LightingCocoMetric({split: f'ExLPose_test_{split}.json'}, str(exlpose_root))
        metric.dataset_meta = dataset.metainfo
        metric.process([], data_samples)
        return metric.evaluate(len(data_samples))[f'{split}/AP']

    assert average_precision(packed) == pytest.approx(1)
    assert average_precision(packed[1:]) < 0.9
