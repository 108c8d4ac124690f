"""The official crop against its description, spelt out."""
import cv2
import numpy as np
import pytest

from exlpose_mm.crops import BorderedAffine, CPNBBoxCenterScale

BORDER = (102.98, 115.95, 122.77)


def sample(image, box):
    return dict(img=image, bbox=np.float32([box]), keypoints=np.float32([[[box[0], box[1]]]]))


def test_the_box_grows_by_10_and_15_percent_a_side():
    out = CPNBBoxCenterScale().transform(sample(None, (100, 50, 160, 150)))
    np.testing.assert_allclose(out['bbox_center'], [[130, 100]])
    np.testing.assert_allclose(out['bbox_scale'], [[60 + 2 * 6, 100 + 2 * 15]])


def test_training_draws_a_factor_between_0_7_and_1_35_for_both_sides():
    np.random.seed(0)
    crop = CPNBBoxCenterScale(padding=1.25, scale_range=(0.7, 1.35))
    scales = np.concatenate([crop.transform(sample(None, (0, 0, 60, 100)))['bbox_scale'] for _ in range(400)])
    factors = scales / (1.25 * np.array([72, 130]))
    np.testing.assert_allclose(factors[:, 0], factors[:, 1], rtol=1e-5)
    assert 0.7 <= factors.min() < 0.72 and 1.33 < factors.max() <= 1.35


@pytest.mark.parametrize('kwargs', [
    dict(margins=(-0.1, 0)), dict(padding=0), dict(scale_range=(1.35, 0.7)), dict(scale_range=(0, 1))])
def test_values_without_meaning(kwargs):
    with pytest.raises(ValueError, match='margins >= 0'):
        CPNBBoxCenterScale(**kwargs)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_the_border_is_the_mean_colour_and_the_inside_is_unchanged(dtype):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (120, 90, 3)).astype(dtype)
    results = CPNBBoxCenterScale(margins=(0, 0)).transform(sample(image, (-60, -40, 60, 120)))
    out = BorderedAffine((48, 64)).transform(results)
    x0, y0, step = -60, -40, 120 / 48
    matrix = np.float32([[1 / step, 0, -x0 / step], [0, 1 / step, -y0 / step]])
    want = cv2.warpAffine(image.astype(np.float32), matrix, (48, 64), borderValue=BORDER)
    np.testing.assert_allclose(out['img'], want, atol=0.01 * 255 / 8)
    np.testing.assert_allclose(out['img'][0, 0], BORDER, atol=1e-3)


def test_a_pair_moves_alike():
    image = np.random.default_rng(1).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    alone, pair = (CPNBBoxCenterScale().transform(sample(img, (5, 5, 30, 60)))
                   for img in (image, [np.float32(image), image]))
    alone = BorderedAffine((24, 32)).transform(alone)['img']
    for moved in BorderedAffine((24, 32)).transform(pair)['img']:
        np.testing.assert_array_equal(moved, alone)
