"""The model that the package carries, as whoever has none meets it."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.evaluation import bbox_overlaps
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmpose.apis import MMPoseInferencer, inference_topdown, init_model
from mmpose.apis.inferencers import get_model_aliases

from exlpose_mm import ExLPoseDataset
from exlpose_mm.apis.deployment import deploy
from exlpose_mm.apis.detection import load_detector, people_in
from exlpose_mm.apis.inference import find_poses, load_model
from exlpose_mm.datasets.transforms.darkening import SimulateLowLight
from exlpose_mm.engine.building import build_model
from exlpose_mm.engine.checkpoints import read_safetensors
from exlpose_mm.engine.zoo import CONFIG, DETECTOR_CONFIG, DETECTOR_WEIGHTS, PACKAGES, WEIGHTS, ZOO, models_of_metafile

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def model():
    return load_model()


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / 'night.jpg'
    cv2.imwrite(str(path), np.random.default_rng(0).poisson(1.0, (128, 96, 3)).astype(np.uint8))
    return str(path)


@pytest.mark.parametrize('name', PACKAGES)
class TestFile:
    def test_is_small_enough_to_be_carried(self, name):
        assert 1e6 < os.path.getsize(ZOO / f'{name}.safetensors') <= 16e6

    def test_is_of_its_config(self, name):
        config, found = Config.fromfile(ZOO / f'{name}.py'), read_safetensors(ZOO / f'{name}.safetensors')
        built = build_model(config.model, config.default_scope).state_dict()
        assert {name: value.shape for name, value in built.items()} == {k: v.shape for k, v in found.items()}

    def test_config_needs_no_other(self, name):
        text = str(Config.fromfile(ZOO / f'{name}.py').to_dict())
        assert [word for word in ('_base_', 'data_root', 'init_cfg', 'checkpoint', os.sep) if word in text] == []

    def test_card_says_what_the_weights_may_be_used_for(self, name):
        card = (ZOO / 'README.md').read_text(encoding='utf-8')
        assert 'research only' in card and 'CVPR 2011' in card and f'exlpose_mm/zoo/{name}\n' in card


class TestName:
    def test_is_all_that_an_inferencer_needs(self, picture, tmp_path):
        result = next(MMPoseInferencer('exlpose', device='cpu')(picture, out_dir=str(tmp_path / 'out')))
        (person,) = result['predictions'][0]
        assert np.shape(person['keypoints']) == (14, 2) and np.isfinite(person['keypoints']).all()
        assert person['bbox'][0] == [0, 0, 96, 128], 'the whole image'
        assert (tmp_path / 'out/visualizations/night.jpg').is_file()

    @pytest.mark.parametrize('level', [None, 'exlpose-normal'])
    def test_draws_what_it_is_sure_of(self, data_dir, tmp_path, level):
        """With nothing said, as MMPose's models do: more than a box's lines change."""
        _, (frame, box, *_) = (shot for _, shot in zip(range(2), photographs(data_dir, level)))
        left, top, right, bottom = box.astype(int).clip(0)
        cv2.imwrite(str(tmp_path / 'person.png'), frame[top:bottom, left:right])
        inferencer = MMPoseInferencer('exlpose', device='cpu')
        drawn, bare = (
            next(inferencer(str(tmp_path / 'person.png'), return_vis=True, kpt_thr=threshold))['visualization'][0]
            for threshold in (0.3, 2.0)
        )
        assert (drawn != bare).any(axis=-1).mean() > 0.005

    def test_gives_the_weights_that_are_shipped(self, model, picture):
        (wanted,) = inference_topdown(model, picture)
        found = next(MMPoseInferencer('exlpose', device='cpu')(picture, return_datasamples=True))['predictions'][0]
        np.testing.assert_array_equal(found.pred_instances.keypoints, wanted.pred_instances.keypoints)
        assert found.lighting == 'low_light'

    def test_stands_beside_those_of_mmpose(self):
        assert 'human' in get_model_aliases('mmpose')
        assert BaseInferencer.list_models('mmpose', '^exlpose') == ['exlpose']

    def test_of_the_detector_stands_beside_those_of_mmdetection(self):
        folder = BaseInferencer._get_repo_or_mim_dir('mmdet')
        names = [entry['Name'] for entry in models_of_metafile(folder)]
        assert len(names) > 100 and [name for name in names if 'exlpose' in name] == ['exlpose-people']

    def test_is_known_to_a_fresh_interpreter(self):
        code = 'import exlpose_mm\nfrom mmpose.apis import Pose2DInferencer\nPose2DInferencer("exlpose", device="cpu")'
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, encoding='utf-8', cwd=ROOT)
        assert done.returncode == 0, done.stderr


class TestDemo:
    def demo(self, *arguments):
        runpy.run_path(str(ROOT / 'tools/demo.py'))['main']([*map(str, arguments), '--device', 'cpu'])

    def test_of_a_picture_that_one_person_fills(self, picture, tmp_path, capsys):
        self.demo(picture, '--whole-image', '--out', tmp_path / 'out')
        assert '1 people in 1 frames, 1 taken to be low_light' in capsys.readouterr().out
        assert cv2.imread(str(tmp_path / 'out/night.png')).shape == (128, 2 * 96, 3)

    def test_of_a_config_without_a_checkpoint(self, picture, tmp_path):
        with pytest.raises(SystemExit, match='own.py alone is no model: name a config and its checkpoint, or neither'):
            self.demo(picture, 'own.py', '--out', tmp_path / 'out')

    def test_of_a_checkpoint_without_a_config(self):
        with pytest.raises(ValueError, match='own.pth alone is no model'):
            load_model(checkpoint='own.pth')


def test_it_can_be_made_plain(model, picture, tmp_path):
    plain = init_model(*map(str, deploy(Config.fromfile(CONFIG), WEIGHTS, tmp_path / 'plain')), device='cpu')
    assert type(plain).__name__ == 'TopdownPoseEstimator'
    (found,), (wanted,) = (inference_topdown(estimator, picture) for estimator in (plain, model))
    np.testing.assert_allclose(found.pred_instances.keypoints, wanted.pred_instances.keypoints, atol=1e-3)


EXLPOSE_HEIGHT = 349
"""Pixels that people are tall in ExLPose's frames: so many share the light of one."""


def photographs(data_dir, level):
    """Every twentieth of 502 photographs that the models were not trained on, in this darkness, and the person in it.

    Yields:
        tuple: The frame; the person's box, x1 y1 x2 y2, joints and their visibility in it.
    """
    root = data_dir / 'lspet14'
    people = ExLPoseDataset(
        'well_lit',
        'annotations/lspet14_val.json',
        str(root),
        data_prefix=dict(img=str(root / 'images')),
        test_mode=True,
    )
    for person in (people[i] for i in range(0, len(people), 20)):
        frame, zoom = cv2.imread(person['img_path']), EXLPOSE_HEIGHT / np.ptp(person['bbox'][0, 1::2])
        frame = cv2.resize(frame, None, fx=zoom, fy=zoom)
        if level:
            frame = SimulateLowLight(level, paired=False, seed=0)(dict(img=frame, img_id=person['img_id']))['img']
        yield frame, zoom * person['bbox'][0], zoom * person['keypoints'][0], person['keypoints_visible'][0] > 0


@pytest.mark.parametrize('level, most', [(None, 0.11), ('exlpose-normal', 0.15)])
def test_it_sees_people(model, data_dir, level, most):
    """Joints' distances as a share of the box."""
    errors = []
    for frame, box, joints, visible in photographs(data_dir, level):
        found = find_poses(model, frame, box[None]).pred_instances
        distances = np.linalg.norm(found.keypoints[0] - joints, axis=1)
        errors.append(distances[visible].mean() / np.ptp(box[1::2]))
    assert np.median(errors) < most


@pytest.fixture(scope='module')
def detector():
    return load_detector(DETECTOR_CONFIG, DETECTOR_WEIGHTS)


def meets(boxes, box):
    """Whether one of the boxes overlaps this one by an intersection over union of more than a half."""
    return bbox_overlaps(boxes, box[None]).max(initial=0) > 0.5


@pytest.mark.parametrize('level, least', [(None, 0.8), ('exlpose-normal', 0.6)])
def test_the_detector_finds_them(detector, data_dir, level, least):
    found = [meets(people_in(detector, frame), box) for frame, box, *_ in photographs(data_dir, level)]
    assert np.mean(found) > least


def test_a_dark_picture_of_several_people(data_dir, tmp_path):
    """Three photographs side by side; by the tool, with nothing but the picture, and by MMPose's inferencer."""
    shots = [shot for _, shot in zip(range(3), photographs(data_dir, 'exlpose-normal'))]
    height = max(frame.shape[0] for frame, *_ in shots)
    frames = [np.pad(frame, ((0, height - len(frame)), (0, 0), (0, 0))) for frame, *_ in shots]
    cv2.imwrite(str(tmp_path / 'night.png'), np.hstack(frames))
    TestDemo().demo(tmp_path / 'night.png', '--out', tmp_path / 'out')
    content = json.loads((tmp_path / 'out' / 'predictions.json').read_text(encoding='utf-8'))
    boxes = np.float32([person['bbox'] for person in content['annotations']])
    boxes[:, 2:] += boxes[:, :2]
    starts = np.cumsum([0, *(frame.shape[1] for frame in frames)])
    assert sum(meets(boxes, box + [x, 0, x, 0]) for x, (_, box, *_) in zip(starts, shots)) >= 2
    people = next(MMPoseInferencer('exlpose', device='cpu')(str(tmp_path / 'night.png')))['predictions'][0]
    assert len(people) >= 2
