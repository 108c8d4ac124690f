"""Steps of MMDetection on both images of a pair: boxes follow the pixels, in both alike."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.registry import TRANSFORMS
from mmengine.registry import DefaultScope

from exlpose_mm.datasets.transforms.whole_images import OnViews, PackPairedDetInputs, repeated_randomness
from exlpose_mm.lighting import LIGHTINGS

STEPS = [
    dict(type='RandomResize', scale=(160, 120), ratio_range=(0.6, 1.6), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(150, 110)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Pad', size_divisor=32),
]


@TRANSFORMS.register_module()
class ShiftToBrightest(BaseTransform):
    """Looks at the pixels to say where they go."""

    def transform(self, results):
        shift = int(results['img'].argmax())
        results['gt_bboxes'].translate_((shift, 0))
        return results


@TRANSFORMS.register_module()
class GiveUp(BaseTransform):
    def transform(self, results):
        return None


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def scene(box, size=(120, 160)) -> dict:
    """A pair of a frame where a person is a bright rectangle (x1, y1, x2, y2), dark in low light."""
    x1, y1, x2, y2 = box
    well_lit = np.zeros((*size, 3), np.uint8)
    well_lit[y1:y2, x1:x2] = 250
    low_light = (well_lit > 0).astype(np.float32) * 2.5
    instances = [dict(bbox=list(map(float, box)), bbox_label=0, ignore_flag=0)]
    loaded = dict(img=[low_light, well_lit], lighting=LIGHTINGS, instances=instances, img_path='a.png', img_id=3)
    loaded.update(img_shape=size, ori_shape=size)
    return LoadAnnotations(with_bbox=True).transform(loaded)


def extent(image: np.ndarray) -> np.ndarray:
    """The box of what is brighter than half of the brightest."""
    rows, columns = np.nonzero(image[..., 0] > image.max() / 2)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


@settings(max_examples=40, deadline=None)
@given(
    number=st.integers(0, 10**6),
    left=st.integers(2, 100),
    top=st.integers(2, 60),
    width=st.integers(20, 50),
    height=st.integers(20, 50),
)
def test_boxes_follow_the_pixels_of_both_images(number, left, top, width, height):
    with DefaultScope.overwrite_default_scope('mmdet'):
        seed(number)
        moved = OnViews(STEPS).transform(scene((left, top, left + width, top + height)))
    if moved is None:  # the person was cut off
        return
    low_light, well_lit = moved['img']
    assert low_light.shape == well_lit.shape and low_light.dtype == np.float32
    (box,) = moved['gt_bboxes'].tensor.numpy()
    for image in (low_light, well_lit):
        np.testing.assert_allclose(extent(image), box, atol=1.6)


def test_both_images_are_moved_as_one_alone():
    steps = OnViews(STEPS)
    for number in range(6):
        results = []
        for image in (None, 0, 1):
            seed(number)
            loaded = scene((20, 10, 70, 80))
            loaded['img'] = loaded['img'] if image is None else loaded['img'][image]
            results.append(steps.transform(loaded))
        both, *alone = results
        for image, single in zip(both['img'], alone):
            np.testing.assert_array_equal(image, single['img'])
            np.testing.assert_array_equal(both['gt_bboxes'].tensor, single['gt_bboxes'].tensor)
        assert {both['flip'], *(single['flip'] for single in alone)} == {both['flip']}


def test_random_numbers_go_on():
    seed(0)
    steps = OnViews([dict(type='RandomResize', scale=(160, 120), ratio_range=(0.5, 2.0), keep_ratio=True)])
    shapes = [steps.transform(scene((20, 10, 70, 80)))['img_shape'] for _ in range(5)]
    assert len(set(shapes)) == 5


def test_the_block_leaves_the_generators_as_they_were_also_when_it_fails():
    seed(1)
    expected = [random.random(), np.random.rand(), float(torch.rand(1))]
    seed(1)
    with pytest.raises(ZeroDivisionError), repeated_randomness():
        _ = random.random(), np.random.rand(), torch.rand(1), 1 / 0
    assert [random.random(), np.random.rand(), float(torch.rand(1))] == expected


def test_a_step_that_looks_at_the_pixels_is_refused():
    loaded = scene((20, 10, 70, 80))
    loaded['img'][1][0, 5] = 255
    with pytest.raises(ValueError, match='the images of a pair were moved differently by .*ShiftToBrightest'):
        OnViews([dict(type='ShiftToBrightest')]).transform(loaded)


def test_a_sample_that_the_steps_give_up_is_given_up():
    assert OnViews([dict(type='GiveUp')]).transform(scene((20, 10, 70, 80))) is None


def test_what_a_pair_is_packed_as():
    packed = PackPairedDetInputs(meta_keys=('ours',)).transform(dict(scene((20, 10, 70, 80)), split='LL', ours=1))
    low_light, well_lit = scene((20, 10, 70, 80))['img']
    np.testing.assert_array_equal(packed['inputs']['low_light'], low_light.transpose(2, 0, 1))
    np.testing.assert_array_equal(packed['inputs']['well_lit'], well_lit.transpose(2, 0, 1))
    sample = packed['data_samples']
    assert (sample.lighting, sample.split, sample.ours, sample.img_id) == (LIGHTINGS, 'LL', 1, 3)
    assert sample.gt_instances.bboxes.tensor.tolist() == [[20, 10, 70, 80]]


def test_a_single_image_is_packed_as_mmdetection_does():
    loaded = dict(scene((20, 10, 70, 80)), lighting='low_light')
    loaded['img'] = loaded['img'][0]
    packed = PackPairedDetInputs().transform(loaded)
    assert packed['inputs'].shape == (3, 120, 160) and packed['data_samples'].lighting == 'low_light'
