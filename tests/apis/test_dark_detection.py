"""A detector of two lightings, where any other detector may be named: its own steps and the image's lighting."""

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from test_detection import tool
from test_detection_configs import SMALL
from test_inference import demo
from test_tools import DEMO, random_checkpoint

from exlpose_mm.apis.detection import detect_people, list_images, load_detector, people_in
from exlpose_mm.apis.publishing import publish
from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.lighting import LIGHTINGS, lighting, lsbn_layers

ROOT = Path(__file__).resolve().parents[2]
CONFIG = str(ROOT / 'configs' / SMALL)


def dark_image() -> np.ndarray:
    return np.random.default_rng(0).poisson(2, (120, 160, 3)).astype(np.uint8)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> str:
    """A random detector whose two conditions differ and that finds something everywhere."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(Config.fromfile(CONFIG).model)
    for layer in lsbn_layers(model):
        torch.nn.init.uniform_(layer.bns[1].weight, 0.5, 2.0)
    for classify, regress in zip(model.bbox_head.rtm_cls, model.bbox_head.rtm_reg):
        torch.nn.init.normal_(classify.weight, std=50.0)  # an untrained network's features are tiny
        torch.nn.init.zeros_(classify.bias)
        torch.nn.init.constant_(regress.bias, 2.0)
    path = tmp_path_factory.mktemp('dark') / 'detector.pth'
    meta = dict(dataset_meta=dict(classes=('person',)))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), path)
    return str(path)


@pytest.fixture(scope='module')
def detector(checkpoint):
    return load_detector(CONFIG, checkpoint)


def spelled_out(detector, image: np.ndarray, name: str) -> torch.Tensor:
    """Scores of the first level for an image (120, 160, 3), the size of the input, without any pipeline."""
    pixels = image.astype(np.float64)
    if name == 'low_light':
        pixels *= 0.4 * 255 / pixels.mean((0, 1))
        pixels /= 255
    else:
        pixels = (pixels - [103.53, 116.28, 123.675]) / [57.375, 57.12, 58.395]
    inputs = torch.zeros(1, 3, 128, 160)
    inputs[0, :, :120] = torch.from_numpy(pixels.transpose(2, 0, 1)).float()
    with torch.no_grad(), lighting(detector, name):
        scores, _ = detector.bbox_head(detector.extract_feat(inputs))
    return scores[0]


@pytest.mark.parametrize('name', LIGHTINGS)
def test_the_network_sees_its_own_steps_under_the_lighting_that_is_said(detector, tmp_path, name):
    image = dark_image()
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    seen = []
    handle = detector.bbox_head.register_forward_hook(lambda module, inputs, output: seen.append(output[0][0]))
    detect_people(detector, {7: str(tmp_path / 'a.png')}, name)
    handle.remove()
    torch.testing.assert_close(seen[0], spelled_out(detector, image, name), atol=1e-2, rtol=1e-3)
    other = spelled_out(detector, image, *set(LIGHTINGS) - {name})
    assert not torch.allclose(seen[0], other, atol=0.1)


@pytest.mark.parametrize('brightness, name', [(0, 'low_light'), (150, 'well_lit')])
def test_without_a_word_the_image_tells_its_lighting(detector, brightness, name):
    image = dark_image() + np.uint8(brightness)
    seen = []
    handle = detector.bbox_head.register_forward_hook(lambda module, inputs, output: seen.append(output[0][0]))
    people_in(detector, image)
    handle.remove()
    torch.testing.assert_close(seen[0], spelled_out(detector, image, name), atol=1e-2, rtol=1e-3)


def test_boxes_are_in_pixels_of_the_image(detector):
    """An image of twice the size has boxes of twice the size."""
    image = dark_image()
    small, large = (
        people_in(detector, image, 0.0),
        people_in(detector, np.kron(image, np.ones((2, 2, 1), np.uint8)), 0.0),
    )
    assert len(small) and small[:, 2].max() <= 160 and large[:, 2].max() > 160


def test_command_line(checkpoint, exlpose_root, tmp_path):
    out = tmp_path / 'people.json'
    files = [CONFIG, checkpoint, 'ExLPose_test_LL-A.json', str(out)]
    tool().main([*files, '--data-root', str(exlpose_root), '--device', 'cpu', '--score-thr', '0'])
    found = json.loads(out.read_text(encoding='utf-8'))
    images = list_images('ExLPose_test_LL-A.json', str(exlpose_root), 'low_light')
    expected, _ = detect_people(load_detector(CONFIG, checkpoint), images, 'low_light', 0.0)
    assert found == json.loads(json.dumps(expected)) and {d['image_id'] for d in found} == set(images)


def test_the_demo_takes_it(checkpoint, tmp_path):
    for i in range(2):
        cv2.imwrite(str(tmp_path / f'{i}.png'), dark_image())
    pose = random_checkpoint(DEMO, tmp_path / 'pose.pth')
    out = tmp_path / 'out'
    demo(tmp_path / '*.png', DEMO, pose, '--out', out, people=('--detector', CONFIG, checkpoint, '--score-thr', 0))
    found = json.loads((out / 'predictions.json').read_text(encoding='utf-8'))['annotations']
    expected = people_in(load_detector(CONFIG, checkpoint), dark_image(), 0.0)
    assert len(found) == 2 * len(expected) > 2
    forced = people_in(load_detector(CONFIG, checkpoint), dark_image(), 0.0, 'well_lit')
    assert not np.array_equal(forced[:1], expected[:1])
    demo(
        *(tmp_path / '*.png', DEMO, pose, '--out', out, '--lighting', 'low_light', '--lighting', '1.png=well_lit'),
        people=('--detector', CONFIG, checkpoint, '--score-thr', 0),
    )
    found = json.loads((out / 'predictions.json').read_text(encoding='utf-8'))['annotations']
    for image_id, boxes in ((1, expected), (2, forced)):
        x, y, width, height = np.transpose([person['bbox'] for person in found if person['image_id'] == image_id])
        np.testing.assert_allclose(np.transpose([x, y, x + width, y + height]), boxes, atol=1e-3)


class TestPublished:
    """As a config that needs no other file, and weights without a pickle."""

    @pytest.fixture(scope='class')
    def files(self, checkpoint, tmp_path_factory):
        return publish(Config.fromfile(CONFIG), checkpoint, tmp_path_factory.mktemp('shared') / 'people')

    @pytest.fixture
    def pictures(self, tmp_path):
        lit = np.random.default_rng(0).integers(100, 250, (120, 160, 3), np.uint8)
        for name, frame in zip(LIGHTINGS, (dark_image(), lit)):
            cv2.imwrite(str(tmp_path / f'{name}.png'), frame)
        return {name: str(tmp_path / f'{name}.png') for name in LIGHTINGS}

    def test_finds_what_the_trained_one_finds(self, files, pictures):
        """With the same rounded weights, by MMDetection's own functions."""
        whole, small = load_detector(CONFIG, str(files[1])), init_detector(*map(str, files), device='cpu')
        assert small.dataset_meta['classes'] == ['person']
        for name, path in pictures.items():
            with DefaultScope.overwrite_default_scope('mmdet'):
                found = inference_detector(small, path)
            boxes = people_in(whole, cv2.imread(path), score_thr=0.0)
            assert found.lighting == name and len(boxes) > 1
            np.testing.assert_allclose(found.pred_instances.bboxes, boxes, atol=1e-3)

    def test_names_no_file_and_no_teacher(self, files):
        text = str(Config.fromfile(files[0]).to_dict())
        words = ('_base_', 'data_root', 'ann_file', 'init_cfg', 'checkpoint', 'teacher', os.sep)
        assert [word for word in words if word in text] == []

    def test_is_taken_by_mmdetections_inferencer(self, files, pictures):
        inferencer = DetInferencer(*map(str, files), device='cpu', show_progress=False)
        (found,) = inferencer(pictures['low_light'])['predictions']
        assert set(found['labels']) == {0} and len(found['bboxes']) > 1

    def test_of_a_pose_model_is_refused(self, tmp_path):
        with DefaultScope.overwrite_default_scope('mmpose'):
            poses = random_checkpoint(DEMO, tmp_path / 'poses.pth')
        with pytest.raises(CheckpointError, match='poses.pth is not of this model'):
            publish(Config.fromfile(CONFIG), poses, tmp_path / 'people')
