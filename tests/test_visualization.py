"""The visualiser that MMPose's hooks and backends use."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from mmpose.structures import PoseDataSample
from test_transforms import image

from exlpose_mm import ExLPoseDataset, LightingVisualizer

SIZE = (96, 128)


@pytest.fixture
def visualizer(tmp_path):
    built = LightingVisualizer(vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path), radius=2)
    built.set_dataset_meta(ExLPoseDataset(lazy_init=True).metainfo)
    return built


def sample(**metainfo):
    """Predicted at x = 100, labelled at x = 40, the last joint not labelled."""
    poses = PoseDataSample(metainfo=metainfo)
    joints = np.full((1, 14, 2), [100.0, 60.0])
    visible = np.ones((1, 14))
    visible[0, -1] = 0
    labels = np.full((1, 14, 2), [40.0, 60.0])
    labels[0, -1] = 5
    boxes = np.float32([[30, 30, 110, 90]])
    poses.pred_instances = InstanceData(keypoints=joints, keypoint_scores=np.ones((1, 14)), bboxes=boxes)
    poses.gt_instances = InstanceData(keypoints=labels, keypoints_visible=visible, bboxes=boxes)
    return poses


def changed(panel, ground):
    """Middle (x, y) of what was drawn."""
    y, x = np.argwhere((panel != ground).any(axis=2)).mean(axis=0)
    return x, y


def test_predictions_are_drawn_on_the_lifted_image_with_the_dark_one_inset(visualizer, tmp_path):
    dark = image(high=3, size=SIZE)
    with_poses = visualizer.add_datasample('a', dark, sample(), draw_gt=False)
    without = visualizer.add_datasample('b', dark, PoseDataSample(), draw_gt=False)
    assert with_poses.shape == (*SIZE, 3) and without.mean() > 50
    assert without[:24, :32].max() < 3 and (without[24:26, :32] == 255).all()
    assert changed(with_poses, without) == pytest.approx((100, 60), abs=1)
    assert {path.name for path in tmp_path.rglob('*.png')} == {'a_0.png', 'b_0.png'}


def test_labels_are_drawn_on_the_well_lit_partner(visualizer, tmp_path):
    bright = image(high=250, size=SIZE)
    cv2.imwrite(str(tmp_path / 'bright.png'), bright)
    drawn = visualizer.add_datasample(
        'a', image(high=3, size=SIZE), sample(well_lit_path=str(tmp_path / 'bright.png')), draw_gt=False
    )
    assert drawn.shape == (96, 256, 3)
    assert changed(drawn[:, 128:], bright[..., ::-1]) == pytest.approx((40, 60), abs=1)


def test_without_a_partner_labels_are_drawn_when_asked(visualizer):
    lit = image(high=250, size=SIZE)
    drawn = visualizer.add_datasample('a', lit, sample(), draw_gt=True)
    assert changed(drawn[:, :128], lit) == pytest.approx((100, 60), abs=1)
    assert changed(drawn[:, 128:], lit) == pytest.approx((40, 60), abs=1)


def test_a_dark_image_that_runs_as_well_lit_is_shown_as_the_network_sees_it(visualizer):
    dark = image(high=30, size=SIZE)
    for name, stays in (('well_lit', True), ('low_light', False)):
        drawn = visualizer.add_datasample('a', dark, PoseDataSample(metainfo=dict(lighting=name)), draw_gt=False)
        assert (drawn == dark).all() == stays


def test_a_bright_image_stays_as_it_is(visualizer):
    lit = image(high=250, size=SIZE)
    np.testing.assert_array_equal(visualizer.add_datasample('a', lit, PoseDataSample(), draw_gt=False), lit)


def test_out_file_and_heatmaps(visualizer, tmp_path):
    poses = sample()
    poses.pred_fields = PixelData(heatmaps=torch.zeros(14, 24, 32))
    drawn = visualizer.add_datasample(
        'a', image(high=3, size=SIZE), poses, draw_heatmap=True, out_file=str(tmp_path / 'out' / 'a.png')
    )
    assert drawn.shape == (192, 256, 3), 'heatmaps are below the predictions'
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'out' / 'a.png'))[..., ::-1], drawn)


def test_the_inset_is_a_share():
    with pytest.raises(ValueError, match='1.5'):
        LightingVisualizer(inset=1.5)
