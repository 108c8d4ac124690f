"""Simulated darkness: the camera, ELLA against torchvision, and what all simulators promise."""

import numpy as np
import pytest
import torch
from mmpose.registry import TRANSFORMS
from torchvision.transforms import functional as F

from exlpose_mm.datasets.transforms.darkening import (
    ELLA,
    GammaDarken,
    SimulateLowLight,
    add_noise,
    blend_table,
    gamma_table,
    mean_luminance,
    put_back,
)
from exlpose_mm.lighting import LIGHTINGS

SIMULATORS = [
    dict(type='ELLA'),
    dict(type='ELLA', prob=0.0),
    dict(type='ELLA', prob=0.5),
    dict(type='GammaDarken'),
    dict(type='GammaDarken', gamma=3),
    dict(type='SimulateLowLight', level='exlpose'),
]


def photo(seed=0, shape=(40, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def to_torch(image):
    return torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)


def to_bgr(tensor):
    return tensor.permute(1, 2, 0).numpy()[..., ::-1]


class Scripted:
    """A generator that answers from a list, and says what it was asked."""

    def __init__(self, chances=(), integers=()):
        self.chances, self.whole, self.ranges = list(chances), list(integers), []

    def random(self):
        return self.chances.pop(0)

    def uniform(self, low, high):
        self.ranges.append((low, high))
        return (low + high) / 2

    def integers(self, side, size):
        return np.array([self.whole.pop(0) for _ in range(size)])

    def standard_normal(self, shape, dtype):
        return np.random.default_rng(5).standard_normal(shape, dtype=dtype)


class TestSteps:
    """Every value a sample can have, against torchvision on uint8."""

    ramp = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)

    @pytest.mark.parametrize('gamma', [2.0, 2.7, 3.3, 5.0])
    def test_gamma(self, gamma):
        want = to_bgr(F.adjust_gamma(to_torch(self.ramp), gamma))
        np.testing.assert_array_equal(gamma_table(gamma)[self.ramp], want)

    @pytest.mark.parametrize('factor', [0.01, 0.023, 0.05])
    def test_brightness(self, factor):
        want = to_bgr(F.adjust_brightness(to_torch(self.ramp), factor))
        np.testing.assert_array_equal(blend_table(factor, 0.0)[self.ramp], want)

    @pytest.mark.parametrize('factor', [0.2, 0.55, 1.0])
    def test_contrast(self, factor):
        image = photo(1)
        want = to_bgr(F.adjust_contrast(to_torch(image), factor))
        np.testing.assert_array_equal(blend_table(factor, mean_luminance(image))[image], want)

    def test_luminance_weighs_the_channels_of_bgr(self):
        assert mean_luminance(np.uint8([[[100, 0, 0], [0, 100, 0], [0, 0, 100]]])) == (11 + 58 + 29) / 3

    def test_noise_only_brightens_and_is_cut_at_white(self):
        noisy = add_noise(np.full((300, 300, 3), 100, np.uint8), 20.0, np.random.default_rng(0))
        assert noisy.min() == 100
        # Truncated, half of the samples stay; the mean of max(N, 0) is 0.399 sigma, less about
        # half a DN for each of the other half.
        np.testing.assert_allclose((noisy == 100).mean(), 0.5 + 0.02, atol=0.01)
        np.testing.assert_allclose(noisy.mean() - 100, 0.3989 * 20 - 0.25, atol=0.1)
        assert (add_noise(np.full((9, 9, 3), 255, np.uint8), 40.0, np.random.default_rng(0)) == 255).all()

    def test_rectangles_come_back_while_chance_has_it(self):
        image, before = np.zeros((40, 30, 3), np.uint8), photo()
        want = image.copy()
        want[3:9, 2:20] = before[3:9, 2:20]
        # The second one's corners are swapped in y, so it is empty; 0.4 is not above 0.4.
        rng = Scripted(chances=[0.9, 0.41, 0.4], integers=[3, 9, 2, 20, 9, 3, 2, 20])
        put_back(image, before, rng)
        np.testing.assert_array_equal(image, want)

    def test_share_of_rectangles(self):
        """While U > 0.4 gives 0.6 / 0.4 = 1.5 rectangles a call, a quarter of them not empty."""
        rng, changed = np.random.default_rng(0), 0
        for _ in range(4000):
            image = np.zeros((200, 200, 1), np.uint8)
            put_back(image, image + 1, rng)
            changed += bool(image.any())
        # No non-empty rectangle: sum over n of 0.4 * 0.6^n * 0.75^n = 0.4 / (1 - 0.45).
        np.testing.assert_allclose(changed / 4000, 1 - 0.4 / 0.55, atol=0.03)


class TestELLA:
    def test_order_against_torchvision(self):
        """All steps, rectangles after each: gamma 1 / 0.35, brightness 0.03, contrast 0.6, noise 20."""
        image = photo(2)
        boxes = [(0, 4, 0, 9), (5, 9, 3, 8), (10, 13, 6, 20), (20, 39, 10, 25)]
        rng = Scripted(
            chances=[0, 0.9, 0.1, 0, 0.9, 0.1, 0, 0.9, 0.1, 0.9, 0.1, 0],
            integers=[corner for box in boxes for corner in box],
        )
        out = ELLA().darken(image, rng)
        assert rng.ranges == [(0.2, 0.5), (0.01, 0.05), (0.2, 1.0), (0.0, 40.0)]
        assert not rng.chances and not rng.whole

        want = to_torch(image)
        steps = [
            lambda x: F.adjust_gamma(x, 1 / 0.35),
            lambda x: F.adjust_brightness(x, 0.03),
            lambda x: F.adjust_contrast(x, 0.6),
            lambda x: x.clone(),
        ]
        for step, (y1, y2, x1, x2) in zip(steps, boxes):
            before = to_torch(image) if step is steps[-1] else want
            want = step(want)
            want[:, y1:y2, x1:x2] = before[:, y1:y2, x1:x2]
        noise = np.random.default_rng(5).standard_normal(image.shape, dtype=np.float32) * 20
        want = np.minimum(to_bgr(want) + np.maximum(noise, 0), 255).astype(np.uint8)
        np.testing.assert_array_equal(out, want)

    def test_contrast_and_noise_happen_half_of_the_time_and_prob_is_of_the_others(self):
        class Counting:
            def __init__(self, seed):
                self.rng, self.steps = np.random.default_rng(seed), set()

            def uniform(self, low, high):
                self.steps.add((low, high))
                return self.rng.uniform(low, high)

            def __getattr__(self, name):
                return getattr(self.rng, name)

        def shares(prob):
            ella, image = ELLA(prob), photo(shape=(4, 4, 3))
            drawn = [Counting(seed) for seed in range(1000)]
            for rng in drawn:
                ella.darken(image, rng)
            return [
                np.mean([step in rng.steps for rng in drawn])
                for step in ((0.2, 0.5), (0.01, 0.05), (0.2, 1.0), (0.0, 40.0))
            ]

        np.testing.assert_allclose(shares(1.0), [1, 1, 0.5, 0.5], atol=0.05)
        np.testing.assert_allclose(shares(0.3), [0.3, 0.3, 0.5, 0.5], atol=0.05)
        np.testing.assert_allclose(shares(0.0), [0, 0, 0.5, 0.5], atol=0.05)

    def test_it_is_dark(self):
        means = [ELLA().darken(photo(), np.random.default_rng(seed)).mean() for seed in range(100)]
        assert np.median(means) < 0.2 * photo().mean()

    @pytest.mark.parametrize('prob', [-0.1, 1.5, float('nan')])
    def test_prob(self, prob):
        with pytest.raises(ValueError, match=str(prob)):
            ELLA(prob)


class TestGammaDarken:
    def test_formula(self):
        image = photo()
        out = GammaDarken(2.5).darken(image, np.random.default_rng(0))
        np.testing.assert_array_equal(out, np.rint(255 * (image / 255.0) ** 2.5))

    def test_the_exponent_is_uniform_in_its_range(self):
        grey = np.full((1, 1, 3), 250, np.uint8)
        simulate = GammaDarken((2, 5))
        dark = [simulate.darken(grey, np.random.default_rng(seed))[0, 0, 0] for seed in range(500)]
        gammas = np.log(np.array(dark) / 255) / np.log(250 / 255)
        assert gammas.min() > 1.85 and gammas.max() < 5.15
        np.testing.assert_allclose(np.percentile(gammas, (25, 50, 75)), (2.75, 3.5, 4.25), atol=0.2)

    @pytest.mark.parametrize('gamma', [0.4, (0.5, 2), (3, 2), (2, 3, 4), (2, float('inf'))])
    def test_range(self, gamma):
        with pytest.raises(ValueError, match='exponent'):
            GammaDarken(gamma)


class TestSimulateLowLight:
    def test_makes_a_pair_of_any_sample(self):
        out = SimulateLowLight('hard').transform(dict(img=photo(), img_id=1))
        np.testing.assert_array_equal(out['img'][1], photo())
        assert out['lighting'] == LIGHTINGS and out['split'] == 'LL-H'
        assert abs(out['img'][0].mean() - 2) < 0.5

    def test_or_a_low_light_image(self):
        out = SimulateLowLight('normal', paired=False).transform(dict(img=photo(), img_id=1))
        assert out['img'].shape == (40, 30, 3) and out['lighting'] == 'low_light'

    def test_test_noise_is_a_function_of_image_level_and_seed(self):
        def pixels(level='extreme', img_id=1, seed=0):
            np.random.seed(np.random.randint(1000))
            return SimulateLowLight(level, False, seed=seed).transform(dict(img=photo(), img_id=img_id))['img']

        np.testing.assert_array_equal(pixels(), pixels())
        for other in (dict(img_id=2), dict(seed=1), dict(level='hard')):
            assert (pixels() != pixels(**other)).any()

    def test_training_draws_log_uniformly(self):
        np.random.seed(0)
        simulate = SimulateLowLight((0.5, 8.0), camera=dict(gain=0.01, read_noise=0.0))
        means = np.array([simulate._draw({})[0].mean for _ in range(2000)])
        assert means.min() >= 0.5 and means.max() <= 8
        np.testing.assert_allclose(np.median(means), 2, rtol=0.1)
        assert 'split' not in simulate.transform(dict(img=photo()))

    @pytest.mark.parametrize(
        'level, split',
        [
            ('exlpose-normal', 'LL-N'),
            ('exlpose-hard', 'LL-H'),
            ('exlpose-extreme', 'LL-E'),
            ('a7m3', 'A7M3'),
            ('ricoh3', 'RICOH3'),
        ],
    )
    def test_presets_are_levels(self, level, split):
        outs = [
            SimulateLowLight(level, False, **kwargs).transform(dict(img=photo(), img_id=1))
            for kwargs in ({}, {}, dict(camera=dict(gain=5.0)))
        ]
        assert outs[0]['split'] == split and 0 < outs[0]['img'].mean() < 3
        np.testing.assert_array_equal(outs[0]['img'], outs[1]['img'])
        assert outs[2]['img'].var() > 2 * outs[0]['img'].var()

    def test_random_cameras(self):
        simulate = SimulateLowLight('exlpose')
        np.random.seed(0)
        first, second = (simulate._draw({})[0] for _ in range(2))
        np.random.seed(0)
        assert simulate._draw({})[0] == first != second
        out = simulate.transform(dict(img=photo()))
        assert out['lighting'] == LIGHTINGS and 'split' not in out

    @pytest.mark.parametrize('level', ['dark', (2.0, 1.0), (0.0, 1.0), (1.0, 300.0), (1.0, 2.0, 3.0)])
    def test_levels_without_meaning(self, level):
        with pytest.raises(ValueError, match='normal|range'):
            SimulateLowLight(level)

    def test_a_misspelt_camera_parameter_fails_at_build_time(self):
        with pytest.raises(TypeError, match='gian'):
            SimulateLowLight('hard', camera=dict(gian=1))


@pytest.mark.parametrize('cfg', SIMULATORS)
class TestAnySimulator:
    def test_makes_a_pair_and_leaves_the_well_lit_image_alone(self, cfg):
        simulate, image = TRANSFORMS.build(cfg), photo()
        for _ in range(20):
            out = simulate(dict(img=image, img_id=1))
            assert out['lighting'] == LIGHTINGS and out['img'][1] is image
            low = out['img'][0]
            assert low.dtype == np.uint8 and low.shape == image.shape
            assert not np.shares_memory(low, image)
            np.testing.assert_array_equal(image, photo())

    def test_or_the_low_light_image_alone(self, cfg):
        np.random.seed(0)
        pair = TRANSFORMS.build(cfg)(dict(img=photo()))
        np.random.seed(0)
        out = TRANSFORMS.build(dict(cfg, paired=False))(dict(img=photo()))
        assert out['lighting'] == 'low_light'
        np.testing.assert_array_equal(out['img'], pair['img'][0])

    def test_draws_follow_the_global_state(self, cfg):
        def pixels(seed):
            np.random.seed(seed)
            return TRANSFORMS.build(cfg)(dict(img=photo()))['img'][0]

        np.testing.assert_array_equal(pixels(3), pixels(3))
        seen = {pixels(seed).tobytes() for seed in range(12)}
        assert (len(seen) > 1) == (cfg.get('gamma') is None)

    @pytest.mark.parametrize('image', [photo().astype(np.float32), photo()[..., 0], photo()[..., :2]])
    def test_other_images_are_refused(self, cfg, image):
        with pytest.raises(ValueError, match='8-bit colour'):
            TRANSFORMS.build(cfg)(dict(img=image))
