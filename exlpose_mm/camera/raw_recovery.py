"""The sensor's whole numbers behind an 8-bit dark frame, and the colour matrix that it went through.

In a frame of mean 0.2 DN every pixel is 0, 1 or 2 of the sensor's own units, demosaiced, multiplied by
a matrix and rounded. Few matrices can have made these very values, so that they can be searched for.
"""

from dataclasses import replace

import cv2
import numpy as np
from scipy.optimize import minimize

from exlpose_mm.camera.simulation import Camera, demosaic, mosaic, mosaic_of

PATTERNS = dict(RGGB=(0, 0), GRBG=(0, 1), GBRG=(1, 0), BGGR=(1, 1))
"""How many rows and columns to cut off, top and left, until a frame starts with a red pixel."""


def cut_to_red(frame: np.ndarray, pattern: str) -> np.ndarray:
    """Cut a frame (H, W, 3) so that it starts with a red pixel and has even sides.

    Args:
        frame (np.ndarray): (H, W, 3).
        pattern (str): A key of :data:`PATTERNS`: the colours of its first two rows' first two pixels.

    Raises:
        ValueError: If the pattern is unknown.
    """
    if pattern not in PATTERNS:
        raise ValueError(f'unknown colour pattern {pattern!r}; use one of {tuple(PATTERNS)}')
    top, left = PATTERNS[pattern]
    frame = frame[top:, left:]
    return frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2]


def fit_colours(frame: np.ndarray, start: Camera, rounds: int = 2, rows: int = 300) -> Camera:
    """Find the white balance and colour matrix of a dark frame.

    Raw values and matrix are found from each other in turn: each row of the matrix is the one
    whose rounded result differs least from the frame, by Nelder and Mead's search.

    Args:
        frame (np.ndarray): (H, W, 3), uint8, BGR, starts with a red pixel; see :func:`cut_to_red`.
        start (Camera): Where the search begins; all else of it is kept.
        rounds (int): How often.
        rows (int): Only so many rows are looked at, the brightest ones.

    Returns:
        Camera: Rows of its colour matrix sum to 1: grey stays grey. Their product with the
        white balance is what the frame tells.
    """
    frame = max((frame[top : top + rows] for top in range(0, max(len(frame) - rows + 1, 1), 100)), key=np.sum)
    camera = start
    for _ in range(rounds):
        raw = recover_raw(frame, camera, passes=1)
        sensor = demosaic(raw, camera.demosaicing).reshape(-1, 3)[:, ::-1]
        lit = sensor.any(axis=1)
        wanted = frame.reshape(-1, 3)[lit, ::-1].astype(np.float32)
        found = np.stack([_fit_row(sensor[lit], wanted[:, i], row) for i, row in enumerate(_matrix(camera))])
        white_balance = 1 / np.linalg.solve(found, np.ones(3))
        camera = replace(
            camera,
            white_balance=tuple(white_balance.tolist()),
            colour_matrix=tuple(map(tuple, (found / white_balance).tolist())),
        )
    return camera


def _fit_row(sensor: np.ndarray, wanted: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Weights (3, ) of sensor colours (N, 3), red first, that round to the wanted values (N, )."""

    def error(row: np.ndarray) -> float:
        picture = (sensor @ row.astype(np.float32)).clip(0)
        beyond = (np.abs(picture - wanted) - 0.5).clip(0)  # of the rounding: it gives a slope
        return np.abs(np.floor(picture + 0.5) - wanted).mean() + 0.3 * beyond.mean()

    simplex = start + np.vstack([np.zeros(3), 0.15 * np.eye(3)])
    options = dict(maxiter=150, xatol=1e-3, initial_simplex=simplex)
    return minimize(error, start, method='Nelder-Mead', options=options).x


def recover_raw(frame: np.ndarray, camera: Camera, passes: int = 2) -> np.ndarray:
    """The whole numbers (H, W), float32, that a camera demosaiced to this frame.

    Starts from what each pixel's own colour says, then tries one more and one less for every
    value, every fifth row and column at once, whose 5 x 5 neighbourhoods do not overlap, and
    keeps what brings the picture closer to the frame.

    Args:
        frame (np.ndarray): (H, W, 3), uint8, BGR, starts with a red pixel.
        camera (Camera): Its demosaicing, white balance and colour matrix count.
        passes (int): How often each value is tried.
    """
    raw = _first_guess(frame, camera)

    def errors(values: np.ndarray) -> np.ndarray:
        wrong = np.abs(develop_raw(values, camera) - frame.astype(np.float32)).clip(0, 3).sum(axis=2)
        return cv2.boxFilter(wrong, -1, (5, 5), normalize=False, borderType=cv2.BORDER_REFLECT_101)

    for row, column in np.ndindex(5 * passes, 5):
        chosen = np.s_[row % 5 :: 5, column::5]
        least = errors(raw)[chosen]
        for step in (1, -1):
            trial = raw.copy()
            trial[chosen] = (trial[chosen] + step).clip(0)
            found = errors(trial)[chosen]
            raw[chosen] = np.where(found < least, trial[chosen], raw[chosen])
            least = np.minimum(found, least)
    return raw


def _first_guess(frame: np.ndarray, camera: Camera, steps: int = 4) -> np.ndarray:
    """Raw values (H, W) by comparing each pixel's own colour with what the last guess gives."""
    own = mosaic(frame.astype(np.float32))
    gain = mosaic_of(tuple(np.diag(_matrix(camera))), frame.shape)
    raw = np.rint(own / gain)
    for _ in range(steps):
        picture = mosaic(develop_raw(raw, camera, rounded=False))
        wrong = np.floor(picture + 0.5) != own
        raw = (raw + np.where(wrong, np.rint((own - picture) / gain), 0)).clip(0)
    return raw


def develop_raw(raw: np.ndarray, camera: Camera, rounded: bool = True) -> np.ndarray:
    """The picture (H, W, 3), float32, BGR, in DN that a camera makes of raw values (H, W)."""
    matrix = _matrix(camera)[::-1, ::-1].astype(np.float32)
    picture = cv2.transform(demosaic(raw, camera.demosaicing), matrix).clip(0, 255)
    return np.floor(picture + np.float32(0.5)) if rounded else picture


def _matrix(camera: Camera) -> np.ndarray:
    """From sensor colours to the picture's (3, 3), both red first."""
    return np.array(camera.colour_matrix) * np.array(camera.white_balance)
