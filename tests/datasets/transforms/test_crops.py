"""The official crop against its description, spelt out on a frame that is padded first."""

import cv2
import numpy as np
import pytest

from exlpose_mm import AddMomentumView, CPNCrop, OnLighting, PackPairedInputs, ScaleToMean

BORDER = (102.98, 115.95, 122.77)


def official(image, bbox, size, factor=1.0):
    """Pad the whole frame by its longer side, enlarge the box, cut whole pixels, resize."""
    width, height = size
    add = max(image.shape[:2])
    padded = cv2.copyMakeBorder(image, add, add, add, add, cv2.BORDER_CONSTANT, value=BORDER)
    x1, y1, x2, y2 = np.float64(bbox) + add
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    crop_width, crop_height = (x2 - x1) * 1.2 * factor, (y2 - y1) * 1.3 * factor
    if crop_height / height > crop_width / width:
        crop_width = crop_height / height * width
    else:
        crop_height = crop_width / width * height
    left, right = int(cx - crop_width / 2), int(cx + crop_width / 2)
    top, bottom = int(cy - crop_height / 2), int(cy + crop_height / 2)
    crop = cv2.resize(padded[top:bottom, left:right], (width, height))
    return crop, (left - add, top - add, right - add, bottom - add)


def sample(image, bbox):
    keypoints = np.random.default_rng(7).uniform(0, 60, (1, 14, 2)).astype(np.float32)
    return dict(img=image, bbox=np.float32([bbox]), keypoints=keypoints)


def frame(dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (120, 90, 3)).astype(dtype)


BOXES = [(20, 30, 60, 90), (-3, 5, 40, 70), (10.4, 20.7, 80.2, 50.9), (60, 80, 89, 119), (2, 2, 88, 118)]


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
@pytest.mark.parametrize('bbox', BOXES)
def test_pixels_joints_and_the_way_back(bbox, dtype):
    image = frame(dtype)
    results = sample(image, bbox)
    out = CPNCrop((48, 64)).transform(dict(results))
    want, (left, top, right, bottom) = official(image, bbox, (48, 64))
    np.testing.assert_array_equal(out['img'], want)
    for joint, moved in zip(results['keypoints'][0], out['transformed_keypoints'][0]):
        np.testing.assert_allclose(
            moved, [(joint[0] - left) * 48 / (right - left), (joint[1] - top) * 64 / (bottom - top)], rtol=1e-5
        )
    # MMPose's way from input pixels back to the image.
    back = (
        out['transformed_keypoints'] / out['input_size'] * out['input_scale']
        + out['input_center']
        - 0.5 * out['input_scale']
    )
    np.testing.assert_allclose(back, results['keypoints'], atol=1e-3)


def test_real_frames(data_dir):
    for path in sorted((data_dir / 'exlpose_official').glob('*_dark_*.png')):
        image = cv2.imread(str(path)).astype(np.float32)
        for bbox in [(1141.75, 169.89, 1471.57, 986.05), (5, 600, 300, 1190)]:
            out = CPNCrop((192, 256)).transform(sample(image, bbox))
            want, _ = official(image, np.float32(bbox), (192, 256))
            np.testing.assert_array_equal(out['img'], want)


def test_training_draws_from_0_7_to_1_35_and_stops_at_1_25():
    np.random.seed(0)
    crop = CPNCrop((48, 64), scale_range=(0.7, 1.35))
    factors = np.array([crop._draw_scale() for _ in range(3000)])
    assert 0.7 <= factors.min() < 0.71 and factors.max() == 1.25
    np.testing.assert_allclose((factors == 1.25).mean(), 0.1 / 0.65, atol=0.02)
    np.testing.assert_allclose(np.mean(factors < 1.0), 0.3 / 0.65, atol=0.03)


def test_the_drawn_factor_scales_the_crop():
    crop = CPNCrop((48, 64), scale_range=(1.1, 1.1))
    want, _ = official(frame(), BOXES[0], (48, 64), factor=1.1)
    np.testing.assert_array_equal(crop.transform(sample(frame(), BOXES[0]))['img'], want)


def test_a_pair_moves_alike():
    pair = CPNCrop((24, 32)).transform(sample([frame(np.float32), frame()], BOXES[0]))['img']
    alone = CPNCrop((24, 32)).transform(sample(frame(), BOXES[0]))['img']
    np.testing.assert_array_equal(pair[1], alone)
    np.testing.assert_allclose(pair[0], alone, atol=1)


def scale_and_crop(results):
    crop = dict(type='CPNCrop', input_size=(24, 32))
    scale = OnLighting('low_light', [dict(type='ScaleToMean', crop=crop)])
    return CPNCrop((24, 32)).transform(scale.transform(results))


@pytest.mark.parametrize('bbox', BOXES)
@pytest.mark.parametrize('pair', [False, True])
def test_low_light_is_scaled_as_the_whole_frame_would_be(bbox, pair):
    dark, bright = frame() // 32, frame(seed=1)
    dark[..., 1] = 0
    lit = dict(lighting=('low_light', 'well_lit')) if pair else dict(lighting='low_light')
    scaled = ScaleToMean().transform(dict(img=dark))['img']
    before, after = ([first, bright] if pair else first for first in (dark, scaled))
    want = CPNCrop((24, 32)).transform(sample(after, bbox))['img']
    got = scale_and_crop({**sample(before, bbox), **lit})['img']
    for ours, theirs in zip(*((got, want) if pair else ([got], [want]))):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    well_lit = scale_and_crop({**sample(bright, bbox), 'lighting': 'well_lit'})
    np.testing.assert_array_equal(well_lit['img'], CPNCrop((24, 32)).transform(sample(bright, bbox))['img'])


def test_each_view_is_scaled_by_its_own_frame():
    dark, bright = frame() // 32, frame(seed=1)
    results = AddMomentumView().transform({**sample([dark, bright], BOXES[0]), 'lighting': ('low_light', 'well_lit')})
    results['img'][2] = dark // 2
    student, _, view = scale_and_crop(results)['img']
    for image, got in ((dark, student), (dark // 2, view)):
        want = CPNCrop((24, 32)).transform(sample(ScaleToMean().transform(dict(img=image))['img'], BOXES[0]))['img']
        np.testing.assert_array_equal(got, want)


def test_a_crop_that_does_not_follow_is_missed():
    scale = OnLighting('low_light', [dict(type='ScaleToMean', crop=dict(type='CPNCrop', input_size=(24, 32)))])
    results = scale.transform({**sample(frame(), BOXES[0]), 'lighting': 'low_light', 'img_path': 'a.png'})
    with pytest.raises(ValueError, match=r'left the scaling of a\.png to a CPNCrop'):
        PackPairedInputs().transform(results)


def test_scaling_needs_to_know_the_lighting():
    with pytest.raises(KeyError, match='TagLighting'):
        scale_and_crop(sample(frame(), BOXES[0]))


def test_boxes_without_area_or_outside_of_the_frame():
    assert CPNCrop((24, 32)).transform(sample(frame(), (30, 30, 30, 30)))['img'].shape == (32, 24, 3)
    outside = CPNCrop((24, 32)).transform(sample(frame(np.float32), (500, 500, 520, 540)))['img']
    np.testing.assert_allclose(outside[3, 4], BORDER, rtol=1e-6)


@pytest.mark.parametrize(
    'kwargs', [dict(margins=(-0.1, 0)), dict(max_scale=0), dict(scale_range=(1.35, 0.7)), dict(input_size=(0, 4))]
)
def test_values_without_meaning(kwargs):
    with pytest.raises(ValueError, match='CPNCrop needs'):
        CPNCrop(**{'input_size': (48, 64), **kwargs})
