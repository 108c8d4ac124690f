"""Fitting the low-light camera to real dark frames, and judging how real its frames look.

A dark frame's well-lit partner need not exist: the scene is estimated from the frame itself,
smoothed and put back through the mean response of the camera. Legend: C = 3, red, green, blue.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
from scipy.optimize import minimize

from exlpose_mm.camera.simulation import Camera

COLOURS = ('R', 'G', 'B')
PAIRS = ((0, 1), (0, 2), (1, 2))
SCENE_BLUR = 3.0
"""Standard deviation, in pixels, of the Gaussian that makes a scene of a noisy frame."""
DETAIL_BLUR = 8.0
"""The same of the Gaussian that is taken off before noise is measured."""


class CalibrationError(ValueError):
    """A frame says nothing about a dark camera's noise."""


def measure(frame: np.ndarray) -> dict[str, float]:
    """Measure what makes a dark frame look like one.

    ``mean`` and ``maximum`` in DN; ``P(0)``, ``P(1)``, ``P(2)``: shares of samples of that
    value; ``banding``: standard deviation of the row means, less their mean over five rows,
    over what independent pixels would give; ``lag-1``: correlation of horizontal neighbours;
    ``variance/mean``, in DN; and the correlations of the colours. The last three and the
    independent expectation are of the frame less its Gaussian blur (:data:`DETAIL_BLUR`).

    Args:
        frame (np.ndarray): (H, W, 3), uint8, BGR, of 16 x 16 pixels or more.

    Returns:
        dict[str, float]: ``'<name> <colour>'``, e.g. ``'mean R'``, and ``'correlation RG'``.

    Raises:
        CalibrationError: If the frame is too small, or a colour is the same everywhere.
    """
    if min(frame.shape[:2]) < 16:
        raise CalibrationError(f'a frame of {frame.shape} is too small to measure noise in')
    colours = [np.ascontiguousarray(frame[..., 2 - c], np.float32) for c in range(3)]
    details = [colour - cv2.GaussianBlur(colour, (0, 0), DETAIL_BLUR) for colour in colours]
    if not all(detail.any() for detail in details):
        raise CalibrationError('a colour of the frame is the same everywhere: there is no noise in it')
    measured = {
        f'{key} {name}': value
        for name, colour, detail in zip(COLOURS, colours, details)
        for key, value in _measure_colour(colour, detail).items()
    }
    correlation = np.corrcoef([detail.ravel() for detail in details])
    measured.update((f'correlation {COLOURS[a]}{COLOURS[b]}', float(correlation[a, b])) for a, b in PAIRS)
    return measured


def _measure_colour(colour: np.ndarray, detail: np.ndarray) -> dict[str, float]:
    rows = colour.mean(axis=1)
    rows = rows - np.convolve(np.pad(rows, 2, 'edge'), np.full(5, 0.2), 'valid')
    variance = float(detail.var())
    return {
        'mean': float(colour.mean()),
        **{f'P({value})': float((colour == value).mean()) for value in range(3)},
        'maximum': float(colour.max()),
        'banding': float(rows.std() / np.sqrt(variance / detail.shape[1])),
        'lag-1': float((detail[:, 1:] * detail[:, :-1]).mean() / variance),
        'variance/mean': variance / float(colour.mean()),
    }


def estimate_scene(frame: np.ndarray, camera: Camera) -> np.ndarray:
    """Expected DN (H, W, 3), BGR, float32, whose mean picture is the smoothed frame."""
    levels = np.r_[0, np.geomspace(1e-2, 255, 30)].astype(np.float32)
    flat = (camera.develop(np.full((96, 96, 3), level), np.random.default_rng(0)) for level in levels)
    response = np.maximum.accumulate([picture.mean(axis=(0, 1)) for picture in flat])
    smooth = cv2.GaussianBlur(frame.astype(np.float32), (0, 0), SCENE_BLUR)
    scene = [np.interp(smooth[..., c], response[:, c], levels) for c in range(3)]
    return np.dstack(scene).astype(np.float32)


def retake(frame: np.ndarray, camera: Camera, seed: int = 0) -> np.ndarray:
    """Take a dark frame's scene with a camera: (H, W, 3) uint8 BGR."""
    return camera.develop(estimate_scene(frame, camera), np.random.default_rng(seed))


def fit(
    frames: Sequence[np.ndarray],
    starts: Sequence[Camera],
    evaluations: int = 100,
    progress: Callable[[float], None] = lambda loss: None,
) -> list[Camera]:
    """Find the cameras whose frames measure like the given ones: one sensor for all.

    Fitted are gain, read noise, row noise, colour bias (one value for all colours), and a
    factor each for the white balance of red and blue, by Nelder and Mead's search over the mean
    square of log(simulated / real) of :func:`measure`; the maximum, one sample of a frame,
    counts a tenth.

    Args:
        frames (Sequence[np.ndarray]): Frames of one camera, (H, W, 3) uint8 BGR. Their light
            may differ, their gain not: it is fitted at the ``analog_gain`` of ``starts``.
        starts (Sequence[Camera]): Each frame's camera where the search begins: the first one's
            sensor, and the colours of each.
        evaluations (int): Sensors tried. One takes about 2 s a frame of 2 megapixels.
        progress (Callable): Called with the loss of each.

    Returns:
        list[Camera]: Each frame's, alike but for their colours.

    Raises:
        CalibrationError: As :func:`measure`.
    """
    real = [measure(frame) for frame in frames]

    def loss(vector: np.ndarray) -> float:
        cameras = [_camera_of(vector, start) for start in starts]
        total = float(np.mean([_distance(r, measure(retake(f, c))) for r, f, c in zip(real, frames, cameras)]))
        progress(total)
        return total

    first = _vector_of(starts[0])
    simplex = np.vstack([first, first + np.diag([0.2, 0.2, 0.2, 0.05, 0.05, 0.05])])
    options = dict(maxfev=evaluations, initial_simplex=simplex)
    found = minimize(loss, first, method='Nelder-Mead', options=options).x
    return [_camera_of(found, start) for start in starts]


def _vector_of(camera: Camera) -> np.ndarray:
    gain = camera.system_gain
    return np.array(
        [
            np.log(gain),
            np.log(camera.read_noise * gain),
            np.log(camera.row_noise * gain),
            camera.colour_bias[1] * gain,
            0.0,
            0.0,
        ]
    )


def _camera_of(vector: np.ndarray, start: Camera) -> Camera:
    """Noises are searched in DN, where they hardly depend on the gain."""
    gain, read, row, bias, red, blue = (float(v) for v in vector)
    gain = float(np.exp(gain))
    white_balance = np.multiply(start.white_balance, (np.exp(red), 1.0, np.exp(blue)))
    return replace(
        start,
        gain=gain / 10 ** (start.analog_gain / 20),
        read_noise=float(np.exp(read)) / gain,
        row_noise=float(np.exp(row)) / gain,
        colour_bias=(bias / gain,) * 3,
        white_balance=tuple(white_balance.tolist()),
    )


def _distance(real: dict[str, float], simulated: dict[str, float]) -> float:
    squares = [
        (0.1 if 'maximum' in name else 1) * np.log(max(simulated[name], 1e-6) / max(value, 1e-6)) ** 2
        for name, value in real.items()
    ]
    return float(np.mean(squares))


def judge(real: Sequence[np.ndarray], simulated: Sequence[np.ndarray], size: int = 64) -> float:
    """Accuracy of a logistic regression that tells real from simulated patches; 0.5 is perfect.

    It sees :func:`measure` of each patch of ``size`` x ``size`` pixels, learns on the left
    half of the frames and is tested on the right one.

    Args:
        real, simulated (Sequence[np.ndarray]): As many frames of the same scenes.

    Returns:
        float: The share of test patches that it gets right.
    """
    (x, y), (test_x, test_y) = (_patches(real, simulated, size, half) for half in (0, 1))
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, test_x = ((np.c_[(v - mean) / scale, np.ones(len(v))]) for v in (x, test_x))

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = y * (x @ weights)
        slope = -y / (1 + np.exp(margin.clip(-50, 50)))
        penalty = 1e-2 * np.r_[weights[:-1], 0]
        return np.logaddexp(0, -margin).mean() + penalty @ weights / 2, slope @ x / len(y) + penalty

    weights = minimize(loss, np.zeros(x.shape[1]), jac=True, method='L-BFGS-B').x
    return float((np.sign(test_x @ weights) == test_y).mean())


def _patches(
    real: Sequence[np.ndarray], simulated: Sequence[np.ndarray], size: int, half: int
) -> tuple[np.ndarray, np.ndarray]:
    """Measurements (N, D) of the patches of one half of the frames; +1 for real ones, else -1."""
    rows, labels = [], []
    for label, frames in ((1, real), (-1, simulated)):
        for frame in frames:
            height, width = frame.shape[:2]
            for top in range(0, height - size + 1, size):
                for left in range(half * (width // 2), (half + 1) * (width // 2) - size + 1, size):
                    patch = frame[top : top + size, left : left + size]
                    if all(patch[..., c].any() for c in range(3)):
                        rows.append(list(measure(patch).values()))
                        labels.append(label)
    return np.array(rows), np.array(labels)
