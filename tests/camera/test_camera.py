"""The low-light camera: order of operations, units, noise statistics, errors."""

import hashlib
import math
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from exlpose_mm.camera.simulation import (
    LEVELS,
    PRESETS,
    Camera,
    _bayer_masks,
    camera_of,
    darken,
    demosaic,
    draw_camera,
    mosaic,
    mosaic_of,
)

SILENT = dict(gain=1e-6, read_noise=0.0, row_noise=0.0)


def flat(value, size=(64, 48)):
    return np.full((*size, 3), value, np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_without_noise_it_is_a_linear_scaling():
    """Half the frame at sRGB 128, half at 255: linear light 0.2159 and 1."""
    image = flat(128)
    image[:, 24:] = 255
    out = Camera(mean=100.0, **SILENT).expose(image, rng())
    linear = np.array([((128 / 255 + 0.055) / 1.055) ** 2.4, 1.0])
    want = np.rint(100 * linear / linear.mean())
    np.testing.assert_allclose([out[20, 5, 0], out[20, 40, 0]], want, atol=1)


def test_mosaic_is_rggb():
    blue, green, red = 10.0, 20.0, 30.0
    raw = mosaic(np.float32([[[blue, green, red]] * 2] * 2))
    np.testing.assert_array_equal(raw, [[red, green], [green, blue]])


def test_demosaic_keeps_measured_colours_and_averages_the_others():
    raw = rng().uniform(0, 255, (6, 8)).astype(np.float32)
    out = demosaic(raw)
    assert out[2, 2, 2] == raw[2, 2]
    assert out[2, 3, 1] == raw[2, 3]
    np.testing.assert_allclose(out[2, 2, 1], np.mean([raw[1, 2], raw[3, 2], raw[2, 1], raw[2, 3]]), rtol=1e-5)
    np.testing.assert_allclose(out[2, 2, 0], np.mean(raw[1:4:2, 1:4:2]), rtol=1e-5)
    np.testing.assert_allclose(out[0, 0, 0], raw[1, 1], rtol=1e-5)


def test_gradients_in_demosaicing():
    """Malvar, He & Cutler: the bilinear value plus 1/2, 5/8 or 3/4 of the own colour's Laplacian."""
    raw = rng().uniform(0, 255, (12, 14)).astype(np.float32)
    plain, full = demosaic(raw), demosaic(raw, 'malvar')
    y, x = 4, 6  # a red pixel
    laplacian = raw[y, x] - np.mean([raw[y - 2, x], raw[y + 2, x], raw[y, x - 2], raw[y, x + 2]])
    np.testing.assert_allclose(full[y, x, 1], plain[y, x, 1] + laplacian / 2, rtol=1e-4)
    np.testing.assert_allclose(full[y, x, 0], plain[y, x, 0] + laplacian * 3 / 4, rtol=1e-4)
    y, x = 4, 7  # green, red beside it
    near = raw[y - 1, x - 1] + raw[y - 1, x + 1] + raw[y + 1, x - 1] + raw[y + 1, x + 1]
    own = (5 * raw[y, x] - near - raw[y, x - 2] - raw[y, x + 2] + (raw[y - 2, x] + raw[y + 2, x]) / 2) / 8
    np.testing.assert_allclose(full[y, x, 2], plain[y, x, 2] + own, rtol=1e-4)
    np.testing.assert_allclose(full[y, x, 1], raw[y, x], rtol=1e-6)
    ramp = np.add.outer(np.arange(12.0), np.arange(14.0)).astype(np.float32)
    np.testing.assert_allclose(demosaic(ramp, 'malvar')[3:-3, 3:-3, 0], ramp[3:-3, 3:-3], atol=1e-4)


def test_no_light_is_negative():
    """Beside an edge gradients fall below 0, and a saturated colour of the picture is a negative one of the sensor."""
    edge = np.zeros((8, 8), np.float32)
    edge[:, 4:] = 100
    assert demosaic(edge, 'malvar').min() == 0 < demosaic(edge, 'malvar').max()
    camera = camera_of('exlpose-hard', colour_matrix=((0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8)))
    green = np.zeros((8, 8, 3), np.float32)
    green[..., 1] = 50
    assert np.linalg.inv(camera.colour_matrix)[0, 1] < 0
    assert camera.develop(green, np.random.default_rng(0)).shape == green.shape


@pytest.mark.parametrize('size', [(6, 8), (7, 5), (2, 3), (2, 2)])
@pytest.mark.parametrize('method', ['bilinear', 'malvar'])
def test_an_even_colour_stays_even_up_to_the_border(size, method):
    colour = np.float32([10, 120, 230])
    np.testing.assert_allclose(
        demosaic(mosaic(np.broadcast_to(colour, (*size, 3))), method), np.broadcast_to(colour, (*size, 3)), rtol=1e-6
    )


# The pixels of published numbers: gain 0.5, read noise 0.6, row noise 0.12, bilinear.
PIXELS = dict(normal='618c63a0ad57ef2d', hard='5192f00695d9d7ef', extreme='523f7599029f87fb')


@pytest.mark.parametrize('level', LEVELS)
def test_levels_keep_their_pixels(level):
    image = rng(7).integers(0, 256, (61, 83, 3), dtype=np.uint8)
    assert hashlib.sha256(darken(image, level, rng(3)).tobytes()).hexdigest()[:16] == PIXELS[level]


def test_the_whole_way_pixel_by_pixel():
    """Every stage, spelled out for one sensor pixel at a time; shot noise is left out by a high gain."""
    camera = Camera(
        mean=None,
        light_ratio=4,
        gain=1e-4,
        analog_gain=20.0,
        read_noise=0.0,
        row_noise=0.0,
        colour_bias=(2000.0, 1000.0, 0.0),
        black_level=3.0,
        adc_bits=6,
        white_balance=(2.0, 1.0, 1.5),
        tone_curve='linear',
    )
    image = rng(1).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    out = camera.expose(image, rng())
    step = 255 / 63
    for y, x, channel, balance, bias in ((2, 4, 2, 2.0, 2.0), (2, 5, 1, 1.0, 1.0), (3, 5, 0, 1.5, 0.0)):
        dn = image[y, x, channel] / 4 / balance + bias  # 1e-4 DN per electron, ten times at 20 dB
        want = (np.floor((dn + 3) / step + 0.5) * step - 3) * balance
        assert abs(int(out[y, x, channel]) - want) <= 0.5 + step / 2 * 0.2


def test_an_image_at_its_own_light_is_itself():
    """Within one DN per pixel, so that the way's constants are exact; what is too bright is white."""
    camera = Camera(mean=None, light_ratio=1.0, tone_curve='linear', **SILENT)
    for value in (0, 1, 100, 254, 255):
        np.testing.assert_array_equal(camera.expose(flat(value), rng()), value)
    np.testing.assert_array_equal(camera.develop(np.full((4, 4, 3), 400, np.float32), rng()), 255)


def test_the_sensor_saturates_at_its_highest_code():
    camera = Camera(gain=1e-4, read_noise=0.0, row_noise=0.0, adc_bits=4, white_balance=(0.5, 0.5, 0.5))
    picture = camera.develop(np.full((4, 4, 3), 200, np.float32), rng())  # 400 DN on the sensor
    np.testing.assert_array_equal(picture, 128)


def test_the_demosaicing_is_the_named_one():
    image = rng(1).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    for method in ('bilinear', 'malvar'):
        camera = Camera(mean=None, light_ratio=1.0, tone_curve='linear', demosaicing=method, **SILENT)
        want = demosaic(mosaic(image.astype(np.float32)), method).clip(0, 255)
        np.testing.assert_allclose(camera.expose(image, rng()), want, atol=1)


def test_what_the_sensor_adds_goes_through_balance_and_matrix():
    matrix = np.array([[1.5, 0.1, -0.6], [-0.5, 1.75, -0.25], [-0.05, -0.6, 1.65]])
    balance, bias = np.array([0.95, 0.85, 1.6]), np.array([9000, -4000, 2000])
    camera = Camera(
        mean=100.0,
        gain=1e-3,
        read_noise=0.0,
        row_noise=0.0,
        colour_matrix=matrix.tolist(),
        white_balance=balance.tolist(),
        colour_bias=bias.tolist(),
    )
    picture = camera.expose(flat(200, (100, 100)), rng())[..., ::-1]
    want = 100 + matrix @ (balance * bias * 1e-3)
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), want, atol=0.1)


def test_the_colour_matrix_comes_back_and_mixes_the_noise():
    """A grey scene stays what it was; the noise of red carries the matrix's share of green's."""
    matrix = ((1.6, -0.6, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    camera = dict(mean=100.0, read_noise=0.0, row_noise=0.0, colour_matrix=matrix, white_balance=(1.5, 1.0, 2.0))
    quiet = Camera(gain=1e-5, **camera).expose(flat(200), rng())
    np.testing.assert_allclose(quiet[4:-4, 4:-4], 100, atol=1)
    noisy = Camera(gain=0.5, **camera).expose(flat(200, (400, 400)), rng()).astype(float)
    # At red pixels green is the mean of four: var 1.6^2 1.5 K m + 0.6^2 K m / 4, with m the mean.
    sensor_red = (100 + 0.6 * 100) / 1.6
    want = 1.6**2 * 1.5 * 0.5 * sensor_red + 0.6**2 * 0.5 * 100 / 4
    np.testing.assert_allclose(noisy[0::2, 0::2, 2].var(), want + 1 / 12, rtol=0.05)
    assert np.corrcoef(noisy[0::2, 0::2, 2].ravel(), noisy[0::2, 0::2, 1].ravel())[0, 1] < -0.05


def test_what_lies_below_the_black_level_is_lost():
    camera = dict(mean=None, light_ratio=1e6, gain=1.0, read_noise=2.0, row_noise=0.0)
    nothing = np.zeros((300, 300, 3), np.float32)
    clipped, kept = (Camera(**camera, adc_bits=8, black_level=level).develop(nothing, rng()) for level in (0.0, 20.0))
    # E max(N(0, 2), 0) = 2 / sqrt(2 pi) at the pixels that measure red, whatever was lost before;
    # elsewhere means of four, which only the black level lets be of negative values too.
    for picture in (clipped, kept):
        np.testing.assert_allclose(picture[0::2, 0::2, 2].mean(), 2 / np.sqrt(2 * np.pi), rtol=0.1)
    np.testing.assert_allclose(clipped[1::2, 1::2, 2].mean(), 2 / np.sqrt(2 * np.pi), rtol=0.2)
    np.testing.assert_allclose(kept[1::2, 1::2, 2].mean(), 1 / np.sqrt(2 * np.pi), rtol=0.2)


@pytest.mark.parametrize('shape', [-0.2, 0.14, 1.0])
def test_read_noise_is_tukey_lambda_of_unit_variance(shape):
    values = Camera(read_shape=shape)._read_noise((600, 700), rng(0))
    assert values.dtype == np.float32
    variance = 2 / shape**2 * (1 / (1 + 2 * shape) - math.gamma(shape + 1) ** 2 / math.gamma(2 * shape + 2))
    quartile = (0.75**shape - 0.25**shape) / shape / math.sqrt(variance)
    np.testing.assert_allclose([values.mean(), values.std(), np.quantile(values, 0.75)], [0, 1, quartile], atol=0.01)


def test_what_the_sensor_measures_is_float32():
    """float64 would be the same picture for twice the memory."""
    camera = Camera(colour_bias=(0.1, 0.2, 0.3))
    assert camera._measure(np.ones((4, 6), np.float32), rng(0)).dtype == np.float32
    assert mosaic_of(camera.colour_bias, (4, 6, 3)).dtype == np.float32
    masks = _bayer_masks((4, 6))
    assert masks.dtype == np.float32 and masks.shape == (3, 4, 6)
    tiles = [[[0, 0], [0, 1]], [[0, 1], [1, 0]], [[1, 0], [0, 0]]]
    np.testing.assert_array_equal(masks, np.tile(tiles, (1, 2, 3)))


def test_presets_let_their_light_through():
    image = rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    light = [PRESETS[f'exlpose-{level}'].mean for level in ('normal', 'hard', 'extreme')]
    assert light == sorted(light, reverse=True)
    for name, camera in PRESETS.items():
        quiet = camera_of(
            name,
            read_noise=0.0,
            row_noise=0.0,
            colour_bias=(0.0, 0.0, 0.0),
            gain=1e-4,
            adc_bits=None,
            demosaicing='bilinear',
        )
        linear = np.where(image <= 10, image / 255 / 12.92, ((image / 255 + 0.055) / 1.055) ** 2.4)
        want = camera.mean or 255 * linear.mean() / camera.light_ratio
        assert quiet.expose(image, rng()).mean() == pytest.approx(want, abs=0.5)
        assert 0 < camera_of(name).expose(image, rng()).mean() < 8


@pytest.mark.parametrize('level, n', [('hard', 400), ('extreme', 1200)])
def test_presets_are_as_dark_as_real_frames(level, n):
    """The real frames have channel means of 0.17 to 0.32 DN and 82 to 88 % zeros."""
    image = cv2.GaussianBlur(rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8), (0, 0), 20)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    dark = camera_of(f'exlpose-{level}', mean=289 / n, analog_gain=3.4).expose(image, rng())
    assert 0.08 < dark.mean() < 0.5 and 0.75 < (dark == 0).mean() < 0.95


def test_random_cameras_stay_in_their_ranges():
    cameras = [draw_camera(rng(seed)) for seed in range(200)]
    means, gains = ([getattr(c, name) for c in cameras] for name in ('mean', 'analog_gain'))
    ratios = 289 / np.array(means)
    assert 100 <= min(ratios) < 120 and 1300 < max(ratios) <= 1600
    assert np.median(ratios) == pytest.approx(400, rel=0.25)
    assert 0 <= min(gains) < 1 and 18 < max(gains) <= 19.1
    assert np.std(np.log([c.read_noise for c in cameras])) == pytest.approx(0.263, rel=0.2)
    assert np.std(np.log([c.row_noise for c in cameras])) == pytest.approx(0.294, rel=0.2)
    lowest = draw_camera(SimpleNamespace(uniform=lambda low, high: low, normal=lambda mean, std: mean))
    assert lowest == camera_of('exlpose-hard', mean=lowest.mean, analog_gain=0.0)
    assert lowest.mean == pytest.approx(2.89)
    highest = draw_camera(SimpleNamespace(uniform=lambda low, high: high, normal=lambda mean, std: mean + std))
    assert (highest.mean, highest.analog_gain) == pytest.approx((289 / 1600, 19.1))
    assert (highest.read_noise, highest.row_noise) == pytest.approx((2.04 * np.exp(0.263), 0.536 * np.exp(0.294)))
    assert draw_camera(rng(), gain=2.0).gain == 2.0 and draw_camera(rng(3)) == draw_camera(rng(3))


def test_analogue_gain_is_in_decibels_of_amplitude():
    assert Camera(gain=0.5, analog_gain=20.0).system_gain == pytest.approx(5)
    assert Camera(gain=0.5, analog_gain=-20 * np.log10(2)).system_gain == pytest.approx(0.25)


@pytest.mark.parametrize('gain', [0.5, 2.0])
def test_shot_noise_variance_is_gain_times_mean(gain):
    """Poisson electrons: var(DN) = K^2 var(e) = K^2 mean(DN) / K. At red's own sites."""
    out = Camera(mean=60.0, gain=gain, read_noise=0.0, row_noise=0.0).expose(flat(200, (400, 400)), rng())
    red = out[0::2, 0::2, 2].astype(float)
    np.testing.assert_allclose(red.mean(), 60, rtol=0.02)
    np.testing.assert_allclose(red.var(), gain * 60 + 1 / 12, rtol=0.05)


@pytest.mark.parametrize('shape', [None, 0.14, -0.1])
def test_read_noise_is_in_electrons(shape):
    camera = Camera(mean=60.0, gain=0.5, read_noise=20.0, row_noise=0.0, read_shape=shape)
    red = camera.expose(flat(200, (400, 400)), rng())[0::2, 0::2, 2].astype(float)
    np.testing.assert_allclose(red.var(), 0.5 * 60 + (0.5 * 20) ** 2, rtol=0.05)


@pytest.mark.parametrize('shape', [-0.4, 0.0])
def test_heavy_tails_are_finite(shape):
    """A generator's lowest number is 0, its highest the last below 1."""
    ends = np.float32([[0, 1 - 2**-24]])
    camera = Camera(read_noise=2.0, row_noise=0.0, read_shape=shape)
    generator = SimpleNamespace(
        random=lambda size, dtype: ends,
        poisson=np.zeros_like,
        standard_normal=lambda size, dtype: np.zeros(size, dtype),
    )
    low, high = camera._measure(np.zeros((1, 2)), generator)[0]
    assert -np.inf < low < -15 and 15 < high < np.inf


def test_row_noise_is_shared_by_a_row_only():
    camera = Camera(mean=60.0, gain=0.5, read_noise=0.0, row_noise=20.0)
    red = camera.expose(flat(200, (400, 400)), rng())[0::2, 0::2, 2].astype(float)
    np.testing.assert_allclose(red.mean(1).std(), 0.5 * 20, rtol=0.15)
    assert red.mean(0).std() < 1.0


@pytest.mark.parametrize('level', LEVELS)
def test_levels_set_the_mean(level):
    image = rng(1).integers(0, 256, (200, 150, 3), dtype=np.uint8)
    out = camera_of(level, gain=0.02, read_noise=0.0, row_noise=0.0).expose(image, rng())
    assert out.dtype == np.uint8 and out.shape == image.shape
    np.testing.assert_allclose(out.mean(), LEVELS[level], rtol=0.1)


def test_deterministic_by_generator():
    image = flat(100)
    np.testing.assert_array_equal(*(Camera().expose(image, rng(4)) for _ in range(2)))
    assert (Camera().expose(image, rng(4)) != Camera().expose(image, rng(5))).any()


def test_a_black_frame_and_odd_sizes():
    assert Camera(read_noise=0.0, row_noise=0.0).expose(flat(0, (5, 7)), rng()).max() == 0
    for method in ('bilinear', 'malvar'):
        for size in ((1, 1), (1, 6), (5, 1)):
            out = Camera(mean=100.0, demosaicing=method, **SILENT).expose(flat(9, size), rng())
            assert out.shape == (*size, 3)
            np.testing.assert_array_equal(out[..., 2][::2, ::2], 100)


@pytest.mark.parametrize(
    'kwargs,name',
    [
        (dict(mean=0), 'mean'),
        (dict(mean=300), 'mean'),
        (dict(gain=0), 'gain'),
        (dict(read_noise=-1), 'read_noise'),
        (dict(row_noise=float('nan')), 'row_noise'),
        (dict(light_ratio=100.0), 'either mean or light_ratio'),
        (dict(mean=None), 'either mean or light_ratio'),
        (dict(mean=None, light_ratio=0.5), 'light_ratio'),
        (dict(adc_bits=0), 'adc_bits'),
        (dict(gain=None), 'gain'),
        (dict(gain='high'), 'gain'),
        (dict(read_shape=-0.5), 'read_shape'),
        (dict(white_balance=(1.0, 0.0, 1.0)), 'white_balance'),
        (dict(colour_bias=(1.0, 2.0)), 'colour_bias'),
        (dict(demosaicing='vng'), 'demosaicing'),
        (dict(colour_matrix=((1.0, 0.0), (0.0, 1.0))), 'colour_matrix'),
        (dict(colour_matrix=((0.0,) * 3,) * 3), 'invertible'),
        (dict(analog_gain=90.0), 'analog_gain'),
        (dict(tone_curve='hlg'), 'tone_curve'),
    ],
)
def test_values_outside_their_physical_range(kwargs, name):
    with pytest.raises(ValueError, match=name):
        Camera(**kwargs)


@pytest.mark.parametrize(
    'image', [flat(1)[..., 0], flat(1).astype(np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_images_it_cannot_take(image):
    with pytest.raises(ValueError, match=r'^the camera needs an 8-bit colour image of shape \(H, W, 3\), got'):
        Camera().expose(image, rng())


def test_unknown_level():
    with pytest.raises(ValueError, match="'dusk'.*normal"):
        darken(flat(1), 'dusk', rng())
