"""Simulators of low light: what they keep, what they draw, and each step spelled out."""
import cv2
import numpy as np
import pytest
from mmpose.registry import TRANSFORMS

from exlpose_mm import ELLA, LIGHTINGS, GammaDarken, SimulateLowLight
from exlpose_mm.darkening import adjust_contrast, put_back, scale
from exlpose_mm.enhancement import gamma_correction


def image(seed=0, high=256):
    return np.random.default_rng(seed).integers(0, high, (40, 30, 3), dtype=np.uint8)


@pytest.fixture(autouse=True)
def numpy_seed():
    np.random.seed(0)


class TestSimulateLowLight:

    def test_makes_a_pair_of_any_sample(self):
        out = SimulateLowLight('hard').transform(dict(img=image(), img_id=1))
        np.testing.assert_array_equal(out['img'][1], image())
        assert out['lighting'] == LIGHTINGS and out['split'] == 'LL-H'
        assert abs(out['img'][0].mean() - 2) < 0.5

    def test_or_a_low_light_image(self):
        out = SimulateLowLight('normal', paired=False).transform(dict(img=image(), img_id=1))
        assert out['img'].shape == (40, 30, 3) and out['lighting'] == 'low_light'

    def test_test_noise_is_a_function_of_image_level_and_seed(self):
        def pixels(level='extreme', img_id=1, seed=0):
            np.random.seed(np.random.randint(1000))
            return SimulateLowLight(level, False, seed=seed).transform(
                dict(img=image(), img_id=img_id))['img']
        np.testing.assert_array_equal(pixels(), pixels())
        for other in (dict(img_id=2), dict(seed=1), dict(level='hard')):
            assert (pixels() != pixels(**other)).any()

    def test_training_draws_log_uniformly(self):
        np.random.seed(0)
        simulate = SimulateLowLight((0.5, 8.), camera=dict(gain=0.01, read_noise=0.))
        means = np.array([simulate._draw({})[0].mean for _ in range(2000)])
        assert means.min() >= 0.5 and means.max() <= 8
        np.testing.assert_allclose(np.median(means), 2, rtol=0.1)
        assert 'split' not in simulate.transform(dict(img=image()))

    @pytest.mark.parametrize('level, split', [
        ('exlpose-normal', 'LL-N'), ('exlpose-hard', 'LL-H'), ('exlpose-extreme', 'LL-E'), ('a7m3', 'A7M3'),
        ('ricoh3', 'RICOH3')])
    def test_presets_are_levels(self, level, split):
        outs = [SimulateLowLight(level, False, **kwargs).transform(dict(img=image(), img_id=1))
                for kwargs in ({}, {}, dict(camera=dict(gain=5.)))]
        assert outs[0]['split'] == split and 0 < outs[0]['img'].mean() < 3
        np.testing.assert_array_equal(outs[0]['img'], outs[1]['img'])
        assert outs[2]['img'].var() > 2 * outs[0]['img'].var()

    def test_random_cameras(self):
        simulate = SimulateLowLight('exlpose')
        np.random.seed(0)
        first, second = (simulate._draw({})[0] for _ in range(2))
        np.random.seed(0)
        assert simulate._draw({})[0] == first != second
        out = simulate.transform(dict(img=image()))
        assert out['lighting'] == LIGHTINGS and 'split' not in out

    @pytest.mark.parametrize('level', ['dark', (2., 1.), (0., 1.), (1., 300.), (1., 2., 3.)])
    def test_levels_without_meaning(self, level):
        with pytest.raises(ValueError, match='normal|range'):
            SimulateLowLight(level)

    def test_a_misspelt_camera_parameter_fails_at_build_time(self):
        with pytest.raises(TypeError, match='gian'):
            SimulateLowLight('hard', camera=dict(gian=1))


class TestGammaDarken:

    def test_is_a_tone_curve(self):
        out = GammaDarken((3., 3.), (0.5, 0.5), paired=False).transform(dict(img=image()))['img']
        want = 0.5 * np.rint(255 * (image() / 255.)**3)
        np.testing.assert_allclose(out, want, atol=0.51)

    def test_draws_from_its_ranges(self):
        white = np.full((4, 4, 3), 255, np.uint8)
        values = [GammaDarken(brightness=(0.1, 0.5)).darken(white, {}).mean() for _ in range(300)]
        assert 25 <= min(values) < 35 and 118 < max(values) <= 128


class TestELLA:

    def test_is_dark_with_rectangles_that_are_not(self):
        outs = [ELLA(noise=0.).darken(image(i), {}) for i in range(200)]
        assert np.median([out.mean() for out in outs]) < 10
        assert 0.3 < np.mean([out.max() > 60 for out in outs]) < 1

    def test_steps_in_order(self, monkeypatch):
        """No rectangles; brightness 0.05, contrast 0.5 and noise fixed by their ranges."""
        monkeypatch.setattr('exlpose_mm.darkening.put_back', lambda after, before: after)
        monkeypatch.setattr(np.random, 'uniform', lambda low=0., high=None: 0.4 if high is None else high)
        monkeypatch.setattr(np.random, 'normal', lambda mean, std, shape: np.full(shape, std / 10))
        out = ELLA(gamma=(0.5, 0.5), contrast=(0.5, 0.5)).darken(image(), {})
        dark = np.floor(0.05 * np.floor(255 * (image() / 255.)**2 + 0.5) + 0.5)
        grey = np.rint((dark @ [0.114, 0.587, 0.299]).mean())
        want = np.floor(0.5 * dark + 0.5 * grey + 0.5) + 4
        np.testing.assert_allclose(out, want, atol=1)

    def test_noise_only_adds(self):
        calm, noisy = [], []
        for seed in range(100):
            for found, noise in ((calm, 0.), (noisy, 40.)):
                np.random.seed(seed)
                found.append(ELLA(noise=noise).darken(image(), {}).astype(int))
        changed = [(b - a).max() > 0 for a, b in zip(calm, noisy)]
        assert 0.35 < np.mean(changed) < 0.65
        assert min((b - a).min() for a, b in zip(calm, noisy)) >= 0


class TestSteps:

    def test_contrast_keeps_the_mean(self):
        grey = np.repeat(image()[..., :1], 3, axis=2)
        out = adjust_contrast(grey, 0.3)
        np.testing.assert_allclose(out, grey.mean() + 0.3 * (grey - grey.mean()), atol=1.1)

    def test_scale_and_gamma_round_and_clip(self):
        np.testing.assert_array_equal(scale(image(), 2.), np.minimum(2 * image().astype(int), 255))
        np.testing.assert_allclose(gamma_correction(image(), 2.), 255 * (image() / 255.)**2, atol=0.5)

    def test_rectangles_come_from_the_image_before(self):
        before, after = np.full((50, 60, 3), 200, np.uint8), np.zeros((50, 60, 3), np.uint8)
        untouched, areas = 0, []
        for _ in range(500):
            out = put_back(after, before)
            assert after.max() == 0 and set(np.unique(out)) <= {0, 200}
            untouched += out.max() == 0
            areas.append((out[..., 0] > 0).mean())
        assert 0.36 < untouched / 500 < 0.48  # no rectangle with probability 0.4, few are empty
        assert 0.05 < np.mean(areas) < 0.35


@pytest.mark.parametrize('cfg', [dict(type='ELLA'), dict(type='GammaDarken'),
                                 dict(type='SimulateLowLight', level='exlpose')])
class TestEverySimulator:

    def test_a_pair_or_the_low_light_image_by_config(self, cfg):
        pair = TRANSFORMS.build(cfg).transform(dict(img=image()))
        np.testing.assert_array_equal(pair['img'][1], image())
        assert pair['lighting'] == LIGHTINGS and pair['img'][0].dtype == np.uint8
        alone = TRANSFORMS.build(dict(cfg, paired=False)).transform(dict(img=image()))
        assert alone['img'].shape == image().shape and alone['lighting'] == 'low_light'
        assert cv2.mean(alone['img'])[0] < cv2.mean(image())[0]

    def test_follows_the_global_seed(self, cfg):
        outs = []
        for seed in (1, 1, 2):
            np.random.seed(seed)
            outs.append(TRANSFORMS.build(cfg).transform(dict(img=image()))['img'][0])
        np.testing.assert_array_equal(outs[0], outs[1])
        assert (outs[0] != outs[2]).any()

    def test_takes_8_bit_colour_only(self, cfg):
        with pytest.raises(ValueError, match='8-bit colour'):
            TRANSFORMS.build(cfg).transform(dict(img=image().astype(np.float32)))


@pytest.mark.parametrize('build', [
    lambda: ELLA(gamma=(0.5, 0.2)), lambda: ELLA(brightness=(0., 0.1)), lambda: ELLA(contrast=(0.2, 2.)),
    lambda: ELLA(noise=-1.), lambda: GammaDarken(gamma=(0., 1.)), lambda: GammaDarken(brightness=(0.5, 1.5))])
def test_ranges_without_meaning(build):
    with pytest.raises(ValueError, match='range|noise'):
        build()
