"""Measuring dark frames, and finding a known camera again."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from exlpose_mm.camera.calibration import CalibrationError, estimate_scene, fit, judge, measure, retake
from exlpose_mm.camera.simulation import PRESETS, Camera
from exlpose_mm.evaluation.camera_report import write_report

CAMERA = PRESETS['exlpose-hard']


def scene(size=(200, 320), level=0.5):
    """Expected DN: a smooth slope with a bright spot."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) / size[0]
    light = level * (0.5 + x / 2 + 3 * np.exp(-40 * ((x - 0.8) ** 2 + (y - 0.5) ** 2)))
    return np.dstack([0.8 * light, light, 0.9 * light]).astype(np.float32)


def frame(camera=CAMERA, seed=0, **kwargs):
    return camera.develop(scene(**kwargs), np.random.default_rng(seed))


def test_shares_means_and_maxima_by_colour():
    picture = frame()
    measured = measure(picture)
    for name, channel in zip('BGR', np.moveaxis(picture, 2, 0)):
        counts = np.bincount(channel.ravel(), minlength=3) / channel.size
        assert [measured[f'P({i}) {name}'] for i in range(3)] == pytest.approx(counts[:3].tolist())
        assert measured[f'mean {name}'] == pytest.approx(channel.mean(), rel=1e-4)
        assert measured[f'maximum {name}'] == channel.max()


def test_independent_noise_has_no_banding_no_lag_and_no_correlation():
    noise = np.random.default_rng(0).poisson(3, (400, 600, 3)).astype(np.uint8)
    measured = measure(noise)
    for name in 'RGB':
        assert measured[f'lag-1 {name}'] == pytest.approx(0, abs=0.01)
        assert measured[f'variance/mean {name}'] == pytest.approx(1, abs=0.03)
        # Less their mean over five, independent rows keep 1 - 1/5 of their variance.
        assert measured[f'banding {name}'] == pytest.approx(0.8**0.5, abs=0.1)
    assert measured['correlation RG'] == pytest.approx(0, abs=0.01)


def test_rows_and_blur_and_a_shared_noise_are_seen():
    rng = np.random.default_rng(0)
    noise = rng.normal(100, 5, (400, 600, 3))
    noise += rng.normal(0, 2, (400, 1, 1))
    noise[..., 1] += noise[..., 2] - 100
    blurred = cv2.blur(noise[..., 0], (2, 1))
    measured = measure(np.rint(np.dstack([blurred, noise[..., 1:]])).astype(np.uint8))
    # Row means vary by 2 where pixels of variance 25 + 4 would by sqrt(29 / 600).
    assert measured['banding R'] == pytest.approx(0.8**0.5 * 2 / (29 / 600) ** 0.5, rel=0.1)
    assert measured['lag-1 B'] == pytest.approx((12.5 / 2 + 4) / (12.5 + 4), abs=0.05)
    assert measured['correlation RG'] > 0.6 > 0.3 > measured['correlation RB']


def test_the_scene_is_what_the_camera_saw():
    camera = replace(CAMERA, row_noise=0.0)
    # The response is measured with grey light; what is clipped of other colours is not in it.
    found = estimate_scene(frame(camera, level=1.0), camera).mean(axis=(0, 1))
    np.testing.assert_allclose(found, scene(level=1.0).mean(axis=(0, 1)), rtol=0.15)


def test_a_known_camera_measures_like_its_own_retake():
    real = frame(size=(400, 640))
    measured, again = measure(real), measure(retake(real, CAMERA, seed=1))
    for name in (name for name in measured if 'maximum' not in name and 'lag' not in name):
        assert again[name] == pytest.approx(measured[name], rel=0.2), name


def test_fit_comes_nearer_to_the_camera():
    real = [frame(level=level, size=(96, 160)) for level in (0.3, 0.8)]
    start = replace(CAMERA, row_noise=4 * CAMERA.row_noise)
    bluer = replace(start, white_balance=(1.0, 1.0, 2.0))
    losses = []
    found, other = fit(real, [start, bluer], evaluations=40, progress=losses.append)
    assert len(losses) >= 40 and min(losses) < 0.6 * losses[0]
    assert 0.4 < found.row_noise / CAMERA.row_noise < 2.5
    assert found.analog_gain == start.analog_gain and found.light_ratio == start.light_ratio
    ratios = np.divide(found.white_balance, start.white_balance)
    np.testing.assert_allclose(other.white_balance, ratios * bluer.white_balance)
    assert replace(other, white_balance=found.white_balance) == found, 'one sensor'


def test_the_judge_cannot_tell_one_camera_from_itself_but_another():
    real = [frame(seed=seed, size=(256, 512), level=1.0) for seed in (0, 1)]
    same = [frame(seed=seed, size=(256, 512), level=1.0) for seed in (2, 3)]
    other = [frame(Camera(), seed, size=(256, 512), level=1.0) for seed in (2, 3)]
    assert judge(real, same) < 0.75
    assert judge(real, other) > 0.9


def test_report(tmp_path):
    text = write_report(str(tmp_path / 'new'), {'a/dark.png': frame()}, [CAMERA])
    content = json.loads((tmp_path / 'new' / 'camera.json').read_text(encoding='utf-8'))
    assert '| P(0) R |' in text and 'dark.png' in text and 'perfect' in text
    assert content['frames']['dark.png']['camera']['adc_bits'] == 8 and 0 <= content['judge'] <= 1
    assert content['frames']['dark.png']['real']['mean G'] == pytest.approx(frame()[..., 1].mean())
    assert cv2.imread(str(tmp_path / 'new' / 'camera.jpg')).shape[2] == 3


@pytest.mark.parametrize(
    'picture, message',
    [(np.zeros((40, 40, 3), np.uint8), 'same everywhere'), (np.ones((8, 40, 3), np.uint8), 'too small')],
)
def test_frames_without_noise(picture, message):
    with pytest.raises(CalibrationError, match=message):
        measure(picture)


@pytest.mark.parametrize('level, n', [('hard', 400), ('extreme', 1200)])
def test_the_presets_retake_the_real_frames(official_dir, level, n):
    """Within 25 %; the maximum is one sample of a frame and differs from seed to seed."""
    camera = replace(PRESETS[f'exlpose-{level}'], analog_gain=3.4)
    (path,) = official_dir.glob(f'*exp{n}_dark*.png')
    real = cv2.imread(str(path))
    measured, simulated = measure(real), measure(retake(real, camera, seed=1))
    for name in measured:
        bound = 0.5 if 'maximum' in name else 0.25
        assert simulated[name] == pytest.approx(measured[name], rel=bound), name
