"""The sensor's numbers and colours behind a dark frame."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from exlpose_mm.camera.raw_recovery import PATTERNS, cut_to_red, develop_raw, fit_colours, recover_raw
from exlpose_mm.camera.simulation import PRESETS, demosaic

CAMERA = PRESETS['exlpose-hard']
MATRIX = np.array(CAMERA.colour_matrix) @ np.diag(CAMERA.white_balance)


def poisson(mean, size, seed=0):
    return np.random.default_rng(seed).poisson(mean, size).astype(np.float32)


def picture(raw):
    return develop_raw(raw, CAMERA).astype(np.uint8)


@pytest.mark.parametrize('pattern', PATTERNS)
def test_the_cut_starts_with_red(pattern):
    rggb = np.tile(np.array([[0, 1], [2, 3]], np.uint8), (4, 5))[..., None].repeat(3, 2)
    cut = cut_to_red(np.roll(rggb, PATTERNS[pattern], (0, 1)), pattern)
    assert cut.shape[0] % 2 == cut.shape[1] % 2 == 0
    np.testing.assert_array_equal(cut[:2, :2, 0], [[0, 1], [2, 3]])


def test_an_unknown_pattern():
    with pytest.raises(ValueError, match="'RGBG'.*BGGR"):
        cut_to_red(np.zeros((4, 4, 3), np.uint8), 'RGBG')


def test_the_picture_is_the_rounded_product():
    raw = poisson(3.0, (20, 24))
    want = np.floor(demosaic(raw, 'malvar')[..., ::-1].astype(float) @ MATRIX.T + 0.5).clip(0, 255)
    assert (develop_raw(raw, CAMERA) == want[..., ::-1]).mean() > 0.999


def test_raw_values_come_back():
    raw = poisson(0.4, (120, 160))
    assert (recover_raw(picture(raw), CAMERA) == raw).mean() > 0.98


def test_colours_come_back():
    far = np.array(CAMERA.colour_matrix) + np.random.default_rng(3).uniform(-0.08, 0.08, (3, 3))
    start = replace(CAMERA, white_balance=(1.05, 0.8, 1.7), colour_matrix=tuple(map(tuple, far.tolist())))
    found = fit_colours(picture(poisson(0.5, (120, 160))), start)
    # Whole numbers leave a range of matrices that give the same frame.
    np.testing.assert_allclose(np.array(found.colour_matrix) @ np.diag(found.white_balance), MATRIX, atol=0.06)
    np.testing.assert_allclose(np.sum(found.colour_matrix, axis=1), 1)
    assert replace(found, white_balance=start.white_balance, colour_matrix=start.colour_matrix) == start


@pytest.mark.parametrize('level, n', [('hard', 400), ('extreme', 1200)])
def test_the_presets_reproduce_real_frames_from_whole_numbers(official_dir, level, n):
    (path,) = official_dir.glob(f'*exp{n}_dark*.png')
    part = cut_to_red(cv2.imread(str(path)), 'BGGR')[400:500]
    camera = PRESETS[f'exlpose-{level}']
    assert (develop_raw(recover_raw(part, camera), camera) == part).mean() > 0.98
