"""Classical enhancement, and its place in a pipeline."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmpose.registry import DATASETS

from exlpose_mm.datasets.transforms.enhancement import (
    LowLightEnhance,
    equalize_luminance,
    gamma_correction,
    guided_filter,
    lime,
)
from exlpose_mm.datasets.transforms.lighting import OnLighting

ROOT = Path(__file__).resolve().parents[3]


def dark_frame(height=60, width=80):
    """Poisson counts of a scene whose right half is four times brighter."""
    scene = np.full((height, width, 3), 1.0)
    scene[:, width // 2 :] *= 4
    return np.random.default_rng(0).poisson(scene).astype(np.uint8)


def enhance(image, **kwargs):
    return LowLightEnhance(**kwargs).transform(dict(img=image))['img']


@pytest.mark.parametrize('method', ['lime', 'gamma', 'histogram'])
class TestEveryMethod:
    @pytest.mark.parametrize('shape', [(1, 1), (3, 50), (61, 37)])
    def test_keeps_size_and_type(self, method, shape):
        out = enhance(dark_frame(*shape), method=method)
        assert (out.shape, out.dtype) == ((*shape, 3), np.uint8)

    def test_brightens_and_keeps_the_input(self, method):
        image = dark_frame()
        before = image.copy()
        out = enhance(image, method=method)
        assert out.mean() > 5 * image.mean()
        assert out[:, 40:].mean() > out[:, :40].mean()
        np.testing.assert_array_equal(image, before)

    def test_a_black_frame_is_finite_and_uniform(self, method):
        out = enhance(np.zeros((20, 30, 3), np.uint8), method=method)
        assert np.ptp(out) == 0

    def test_a_cropped_or_scaled_frame_raises(self, method):
        with pytest.raises(ValueError, match='float32.*ScaleToMean'):
            enhance(dark_frame().astype(np.float32), method=method)
        with pytest.raises(ValueError, match=r'\(60, 80\)'):
            enhance(dark_frame()[..., 0], method=method)


class TestLime:
    def test_a_uniform_frame_is_divided_by_its_illumination(self):
        image = np.full((40, 40, 3), (10, 20, 40), np.uint8)
        illumination = 40 / 255
        want = np.float64([10, 20, 40]) / illumination**0.8
        np.testing.assert_allclose(lime(image, gamma=0.8)[20, 20], want, atol=1)

    def test_gamma_of_one_removes_the_illumination(self):
        image = np.full((40, 40, 3), (10, 20, 40), np.uint8)
        np.testing.assert_allclose(lime(image, gamma=1.0)[0, 0], (64, 128, 255), atol=1)

    def test_is_relative_to_the_light_on_both_sides_of_an_edge(self):
        image = np.full((80, 160, 3), 10, np.uint8)
        image[:, 80:] = 200
        out = lime(image, gamma=1.0)
        assert (out[:, [20, 140]] > 250).all()

    def test_saturates_instead_of_wrapping(self):
        image = np.zeros((60, 60, 3), np.uint8)
        image[30, 30] = 255
        assert lime(image)[30, 30].tolist() == [255] * 3


class TestGuidedFilter:
    def test_smooths_noise_but_not_an_edge(self):
        rng = np.random.default_rng(0)
        step = np.repeat(np.float32([0, 1]), 50)[None].repeat(100, 0)
        noisy = step + rng.normal(0, 0.02, step.shape).astype(np.float32)
        out = guided_filter(noisy, radius=5, eps=0.01)
        assert out[:, :40].std() < 0.3 * noisy[:, :40].std()
        assert (out[:, 50] - out[:, 49]).mean() > 0.9

    def test_a_constant_stays(self):
        out = guided_filter(np.full((9, 7), 0.3, np.float32), radius=4, eps=1e-4)
        np.testing.assert_allclose(out, 0.3, atol=1e-6)


def test_gamma_is_the_formula_on_every_level():
    levels = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    want = np.round(255 * (np.arange(256) / 255) ** 0.5)
    np.testing.assert_array_equal(gamma_correction(levels, 0.5)[0, :, 1], want)


def test_histogram_spreads_the_luminance_over_the_range():
    image = np.repeat(np.arange(20, dtype=np.uint8), 20).reshape(20, 20, 1).repeat(3, 2)
    out = equalize_luminance(image)[..., 0]
    assert (out.min(), out.max()) == (0, 255)
    assert (np.diff(out[:, 0].astype(int)) > 0).all()


@pytest.mark.parametrize(
    'kwargs, words',
    [
        (dict(method='retinex'), "'retinex'.*lime"),
        (dict(method='lime', gamma=0), 'positive'),
        (dict(method='histogram', gamma=0.5), 'histogram'),
    ],
)
def test_bad_arguments(kwargs, words):
    with pytest.raises(ValueError, match=words):
        LowLightEnhance(**kwargs)


def test_on_a_pair_only_the_low_light_image_changes():
    dark, bright = dark_frame(), np.full((60, 80, 3), 120, np.uint8)
    step = OnLighting('low_light', [dict(type='LowLightEnhance', method='gamma')])
    out = step.transform(dict(img=[dark, bright], lighting=('low_light', 'well_lit')))['img']
    np.testing.assert_array_equal(out[0], gamma_correction(dark))
    assert out[1] is bright


def test_the_config_enhances_low_light_only_and_normalises_both_alike(exlpose_root, monkeypatch):
    monkeypatch.setenv('DATA_ROOT', str(exlpose_root))
    name = 'lime_baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py'
    config = Config.fromfile(ROOT / 'configs/exlpose' / name)
    preprocessor = config.model.data_preprocessor
    assert preprocessor.low_light == preprocessor.well_lit
    for pipeline in (config.train_pipeline, config.test_dataloader.dataset.pipeline):
        steps = str(pipeline)
        assert 'ScaleToMean' not in steps and steps.count("'lime'") == 1
    dataset = DATASETS.build(config.test_dataloader.dataset)
    low, well = (dataset[i]['inputs'].float().mean() for i in (0, len(dataset) - 1))
    assert low > 20 and abs(well - 75) < 15
