"""The way of a user: mim, MMPose's inference API, and the picture of predictions."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.apis import MMPoseInferencer, init_model
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from exlpose_mm import ExLPoseDataset, cli
from exlpose_mm.datasets.files import DatasetError
from exlpose_mm.visualization import contact_sheet, draw_people, draw_sample, group_by_image, input_names, lift

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / 'configs/demo/exlpose_r18_1xb16-10e_demo-128x96.py'
PAPER = ROOT / 'configs/exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py'


def random_checkpoint(config: Path, path: Path) -> str:
    cfg = Config.fromfile(config).model
    cfg.backbone.init_cfg = None
    torch.manual_seed(0)
    torch.save(dict(state_dict=MODELS.build(cfg).state_dict(), meta={}), path)
    return str(path)


def mim(*args: str, **env) -> str:
    command = [str(Path(sys.executable).with_name('mim')), *args]
    done = subprocess.run(
        command, capture_output=True, encoding='utf-8', cwd=ROOT, env={**os.environ, 'OMP_NUM_THREADS': '1', **env}
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


class TestMim:
    @pytest.mark.parametrize('package', ['exlpose_mm', 'mmpose'])
    def test_train(self, package, exlpose_root, tmp_path):
        options = [
            'train_cfg.max_epochs=1',
            'train_dataloader.batch_size=2',
            'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False',
            'val_dataloader.num_workers=0',
            'val_dataloader.persistent_workers=False',
            'custom_hooks=[]',
            'train_cfg.val_interval=1',
        ]
        variables = [f'data_root={exlpose_root}'] if package == 'exlpose_mm' else []
        log = mim(
            'train',
            package,
            str(DEMO),
            '--gpus',
            '0',
            '--work-dir',
            str(tmp_path / 'work'),
            '--cfg-options',
            *options,
            *variables,
            DATA_ROOT=str(exlpose_root),
        )
        assert (tmp_path / 'work/epoch_1.pth').is_file()
        assert re.findall(r'^(LL-N|LL-H|LL-E|LL-A|WL) ', log, re.M) == ['LL-N', 'LL-H', 'LL-E', 'LL-A', 'WL']

    def test_test_of_the_real_frames_from_the_official_annotations(self, official_dir, tmp_path):
        config = tmp_path / 'real_frames.py'
        config.write_text(
            f"""
_base_ = [{str(PAPER)!r}]
real = dict(type='ExLPoseDataset', lighting='low_light', split='LL-A', data_root={str(official_dir)!r},
            ann_file='test_exlpose.json', test_mode=True)
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(datasets=[real]))
test_evaluator = dict(data_root={str(official_dir)!r}, unions={{}},
                      ann_files={{'_delete_': True, 'LL-A': 'test_exlpose.json'}})
""",
            encoding='utf-8',
        )
        checkpoint = random_checkpoint(PAPER, tmp_path / 'random.pth')
        log = mim(
            'test',
            'exlpose_mm',
            str(config),
            '--checkpoint',
            checkpoint,
            '--work-dir',
            str(tmp_path),
            '--show-dir',
            'pictures',
        )
        row = re.search(r'^LL-A +(.*)$', log, re.M)[1].split()
        assert len(row) == 5 and all(0 <= float(value) <= 100 for value in row)
        pictures = list(tmp_path.glob('*/pictures/*.png'))
        assert len(pictures) == 6 and all(cv2.imread(str(path)).mean() > 10 for path in pictures), 'lifted'


def test_what_is_wrong_with_the_data_is_said_without_a_traceback(monkeypatch):
    def fail(*args, **kwargs):
        raise DatasetError('train.json is no JSON file')

    monkeypatch.setattr(cli.runpy, 'run_path', fail)
    monkeypatch.setattr(sys, 'argv', ['train.py'])
    with pytest.raises(SystemExit, match='^train: train.json is no JSON file$'):
        cli.run_mmpose_tool('train')


class TestInferencer:
    @pytest.mark.parametrize('high', [4, 256])
    def test_a_picture_of_any_brightness(self, tmp_path, high):
        pixels = np.random.default_rng(0).integers(0, high, (120, 90, 3), dtype=np.uint8)
        path = str(tmp_path / 'scene.png')
        cv2.imwrite(path, pixels)
        inferencer = MMPoseInferencer(
            pose2d=str(DEMO),
            pose2d_weights=random_checkpoint(DEMO, tmp_path / 'random.pth'),
            det_model='whole_image',
            device='cpu',
        )
        (person,) = next(inferencer(path, show=False))['predictions'][0]
        assert np.shape(person['keypoints']) == (14, 2)
        assert np.isfinite(person['keypoint_scores']).all()


class TestPicture:
    def test_lift_makes_a_dark_frame_visible_and_keeps_black_black(self):
        ramp = np.tile(np.linspace(0, 4, 64).astype(np.uint8), (48, 1))
        lifted = lift(np.dstack([ramp, ramp, 2 * ramp]))
        assert lifted.max() == 255 and lifted[:, 0].max() < 60
        channels = lifted.reshape(-1, 3).mean(0)
        np.testing.assert_allclose(channels, channels.mean(), rtol=0.05)
        assert lift(np.zeros((8, 8, 3), np.uint8)).max() == 0

    def test_prediction_beside_the_partner(self, exlpose_root, tmp_path):
        model = init_model(str(DEMO), random_checkpoint(DEMO, tmp_path / 'random.pth'), device='cpu')
        dataset = ExLPoseDataset(ann_file='ExLPose_test_LL-A.json', data_root=str(exlpose_root), test_mode=True)
        images = group_by_image(dataset)
        assert sum(map(len, images)) == len(dataset)
        picture = draw_people([model], images[0])
        height, width = cv2.imread(images[0][0]['img_path']).shape[:2]
        assert picture.shape == (height, 3 * width, 3)
        np.testing.assert_array_equal(picture[:, :width], cv2.imread(images[0][0]['img_path']))
        well_lit = cv2.imread(images[0][0]['well_lit_path'])
        assert (picture[:, 2 * width :] != well_lit).any(), 'the labels are drawn'
        assert contact_sheet([picture, picture[:, :-6]], ['a']).shape[1] == 3 * width
        assert contact_sheet([picture], ['a'], 90).shape[:2] == (28 + round(height * 90 / (3 * width)) + 4, 90)

    def test_several_models_without_partners(self, exlpose_root, tmp_path):
        models = [init_model(str(DEMO), random_checkpoint(DEMO, tmp_path / 'random.pth'), device='cpu')] * 2
        dataset = ExLPoseDataset(
            lighting='low_light', ann_file='ExLPose_test_LL-A.json', data_root=str(exlpose_root), test_mode=True
        )
        people = group_by_image(dataset)[0]
        picture, window = draw_people(models, people), draw_people(models, people, crop=True)
        dark = cv2.imread(people[0]['img_path'])
        width = dark.shape[1]
        assert picture.shape == (len(dark), 4 * width, 3)
        np.testing.assert_array_equal(picture[:, width : 2 * width], picture[:, 2 * width : 3 * width])
        assert (picture[:, 3 * width :] != lift(dark)).any(), 'the labels are drawn'
        box = np.concatenate([person['bbox'] for person in people])
        assert window.shape[1] < picture.shape[1] and window.shape[0] >= box[:, 3].max() - box[:, 1].min()


class TestTrainingSamples:
    def packed(self, labelled):
        """A pair and a view of 64 x 48 black pixels, with one joint in pixels of the input."""
        visible = np.zeros((1, 14, 2), np.float32)
        visible[0, 3] = labelled
        person = PoseDataSample()
        person.gt_instances = InstanceData(
            keypoints=np.zeros((1, 14, 2)),
            keypoints_visible=visible,
            transformed_keypoints=np.full((1, 14, 2), [24.0, 40.0]),
        )
        black = torch.zeros(3, 64, 48)
        return dict(inputs=dict(low_light=black, well_lit=black, momentum_view=None), data_samples=person)

    def test_a_labelled_joint_is_on_every_image_in_its_place(self):
        names = ['low_light', 'well_lit', 'momentum_view']
        metainfo = ExLPoseDataset(lazy_init=True).metainfo
        low, well, none = np.split(draw_sample(self.packed(1), metainfo, names, height=128), 3, axis=1)
        for panel in (low, well):
            y, x = np.argwhere(panel.any(axis=2)).mean(axis=0)
            assert abs(x - 48) < 2 and abs(y - 80) < 2
        assert (none == 128).all()
        assert not draw_sample(self.packed(0), metainfo, names[:2]).any()

    @pytest.mark.parametrize(
        'name',
        [
            'demo/exlpose_r18_1xb16-10e_demo-128x96.py',
            'dark-lspet/dual-teacher-unpaired_mobilenetv2_1xb48-270i_dark-lspet-128x96.py',
        ],
    )
    def test_the_tool(self, name, exlpose_root, tmp_path):
        out = tmp_path / 'sheet.png'
        done = subprocess.run(
            [
                sys.executable,
                'tools/browse_dataset.py',
                f'configs/{name}',
                '--data-root',
                str(exlpose_root),
                '--num',
                '3',
                '--out',
                str(out),
            ],
            capture_output=True,
            encoding='utf-8',
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stderr
        columns = 3 if 'unpaired' in name else 2
        assert cv2.imread(str(out)).shape == (28 + 3 * 388, 288 * columns, 3)

    def test_names_of_a_single_image(self):
        sample = dict(inputs=torch.zeros(3, 4, 4), data_samples=PoseDataSample(metainfo=dict(lighting='low_light')))
        assert input_names(sample) == ['low_light']
