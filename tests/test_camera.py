"""The low-light camera: order of operations, units, noise statistics, errors."""
import numpy as np
import pytest

from exlpose_mm.camera import LEVELS, Camera, darken, demosaic, mosaic

SILENT = dict(gain=1e-6, read_noise=0., row_noise=0.)


def flat(value, size=(64, 48)):
    return np.full((*size, 3), value, np.uint8)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_without_noise_it_is_a_linear_scaling():
    """Half the frame at sRGB 128, half at 255: linear light 0.2159 and 1."""
    image = flat(128)
    image[:, 24:] = 255
    out = Camera(mean=100., **SILENT).expose(image, rng())
    linear = np.array([((128 / 255 + 0.055) / 1.055)**2.4, 1.])
    want = np.rint(100 * linear / linear.mean())
    np.testing.assert_allclose([out[20, 5, 0], out[20, 40, 0]], want, atol=1)


def test_mosaic_is_rggb():
    blue, green, red = 10., 20., 30.
    raw = mosaic(np.float32([[[blue, green, red]] * 2] * 2))
    np.testing.assert_array_equal(raw, [[red, green], [green, blue]])


def test_demosaic_keeps_measured_colours_and_averages_the_others():
    raw = rng().uniform(0, 255, (6, 8)).astype(np.float32)
    out = demosaic(raw).astype(float)
    assert out[2, 2, 2] == np.rint(raw[2, 2])
    assert out[2, 3, 1] == np.rint(raw[2, 3])
    np.testing.assert_allclose(out[2, 2, 1], np.mean([raw[1, 2], raw[3, 2], raw[2, 1], raw[2, 3]]), atol=0.5)
    np.testing.assert_allclose(out[2, 2, 0], np.mean(raw[1:4:2, 1:4:2]), atol=0.5)
    np.testing.assert_allclose(out[0, 0, 0], raw[1, 1], atol=0.5)


@pytest.mark.parametrize('gain', [0.5, 2.])
def test_shot_noise_variance_is_gain_times_mean(gain):
    """Poisson electrons: var(DN) = K^2 var(e) = K^2 mean(DN) / K. At red's own sites."""
    out = Camera(mean=60., gain=gain, read_noise=0., row_noise=0.).expose(flat(200, (400, 400)), rng())
    red = out[0::2, 0::2, 2].astype(float)
    np.testing.assert_allclose(red.mean(), 60, rtol=0.02)
    np.testing.assert_allclose(red.var(), gain * 60 + 1 / 12, rtol=0.05)


def test_read_noise_is_in_electrons():
    camera = Camera(mean=60., gain=0.5, read_noise=20., row_noise=0.)
    red = camera.expose(flat(200, (400, 400)), rng())[0::2, 0::2, 2].astype(float)
    np.testing.assert_allclose(red.var(), 0.5 * 60 + (0.5 * 20)**2, rtol=0.05)


def test_row_noise_is_shared_by_a_row_only():
    camera = Camera(mean=60., gain=0.5, read_noise=0., row_noise=20.)
    red = camera.expose(flat(200, (400, 400)), rng())[0::2, 0::2, 2].astype(float)
    np.testing.assert_allclose(red.mean(1).std(), 0.5 * 20, rtol=0.15)
    assert red.mean(0).std() < 1.


@pytest.mark.parametrize('level', LEVELS)
def test_levels_set_the_mean(level):
    image = rng(1).integers(0, 256, (200, 150, 3), dtype=np.uint8)
    out = darken(image, level, rng(), Camera(gain=0.02, read_noise=0., row_noise=0.))
    assert out.dtype == np.uint8 and out.shape == image.shape
    np.testing.assert_allclose(out.mean(), LEVELS[level], rtol=0.1)


def test_deterministic_by_generator():
    image = flat(100)
    np.testing.assert_array_equal(*(Camera().expose(image, rng(4)) for _ in range(2)))
    assert (Camera().expose(image, rng(4)) != Camera().expose(image, rng(5))).any()


def test_a_black_frame_and_odd_sizes():
    assert Camera(read_noise=0., row_noise=0.).expose(flat(0, (5, 7)), rng()).max() == 0
    assert Camera().expose(flat(9, (1, 1)), rng()).shape == (1, 1, 3)


@pytest.mark.parametrize('kwargs,name', [
    (dict(mean=0), 'mean'), (dict(mean=300), 'mean'), (dict(gain=0), 'gain'),
    (dict(read_noise=-1), 'read_noise'), (dict(row_noise=float('nan')), 'row_noise')])
def test_values_outside_their_physical_range(kwargs, name):
    with pytest.raises(ValueError, match=name):
        Camera(**kwargs)


@pytest.mark.parametrize('image', [
    flat(1)[..., 0], flat(1).astype(np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_images_it_cannot_take(image):
    with pytest.raises(ValueError, match='8-bit colour'):
        Camera().expose(image, rng())


def test_unknown_level():
    with pytest.raises(ValueError, match="'dusk'.*normal"):
        darken(flat(1), 'dusk', rng())
