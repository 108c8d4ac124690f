"""A low-light camera: what an 8-bit sensor would have seen in almost no light.

Order of operations and units: 8-bit sRGB -> linear light (0 to 1) -> attenuation ->
RGGB mosaic -> photo-electrons -> shot, read and row noise (electrons) -> gain (DN per
electron) -> demosaic -> clip -> round to 8 bits. DN: digital number, 0 to 255.
The output stays linear, as the paper's camera gives it: no tone curve is put back.
"""
from dataclasses import dataclass, replace
from typing import Tuple

import cv2
import numpy as np

LEVELS = dict(normal=8.0, hard=2.0, extreme=0.6)
"""Mean of the dark frame in DN, per level. Ours, not the paper's: ExLPose names its
levels by the gain of the well-lit image."""

_SRGB_TO_LINEAR = np.where(
    np.arange(256) / 255 <= 0.04045,
    np.arange(256) / 255 / 12.92,
    ((np.arange(256) / 255 + 0.055) / 1.055)**2.4).astype(np.float32)


_SQUARE = np.float32([[1, 1, 1], [1, 4, 1], [1, 1, 1]])
_CROSS = np.float32([[0, 1, 0], [1, 4, 1], [0, 1, 0]])
_BILINEAR_BGR = (_SQUARE, _CROSS, _SQUARE)


@dataclass(frozen=True)
class Camera:
    """A sensor behind a neutral-density filter.

    Args:
        mean (float): Expected mean of the dark frame before noise, in DN. Together with
            the frame's own linear mean it sets how much light the filter passes.
        gain (float): System gain K in DN per photo-electron.
        read_noise (float): Standard deviation of the Gaussian read noise, in electrons.
        row_noise (float): Standard deviation of the offset that all pixels of a sensor
            row share, in electrons. It makes the horizontal banding of real frames.

    Raises:
        ValueError: If a value lies outside of its physical range.
    """
    mean: float = LEVELS['hard']
    gain: float = 0.5
    read_noise: float = 0.6
    row_noise: float = 0.12

    def __post_init__(self) -> None:
        if not 0 < self.mean <= 255:
            raise ValueError(f'mean must lie in (0, 255] DN, got {self.mean}')
        if not self.gain > 0:
            raise ValueError(f'gain must be positive (DN per electron), got {self.gain}')
        for name in ('read_noise', 'row_noise'):
            if not getattr(self, name) >= 0:
                raise ValueError(f'{name} must not be negative (electrons), got {getattr(self, name)}')

    def expose(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take the dark partner of a well-lit image.

        Args:
            image (np.ndarray): (H, W, 3), uint8, BGR, sRGB-coded, 0 to 255.
            rng (np.random.Generator): Source of the noise; the same state gives the
                same pixels.

        Returns:
            np.ndarray: (H, W, 3), uint8, BGR, linear.

        Raises:
            ValueError: If ``image`` is not such an array.
        """
        check_image(image)
        linear = _SRGB_TO_LINEAR[image]
        dn = linear * (self.mean / max(float(linear.mean()), 1e-6))
        electrons = mosaic(dn) / self.gain
        return demosaic(self.gain * self._measure(electrons, rng))

    def _measure(self, electrons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shot, read and row noise on expected electrons (H, W), in electrons."""
        shot = rng.poisson(electrons).astype(np.float32)
        read = rng.standard_normal(electrons.shape, dtype=np.float32) * self.read_noise
        row = rng.standard_normal((len(electrons), 1), dtype=np.float32) * self.row_noise
        return shot + read + row


def check_image(image: np.ndarray) -> None:
    """Raise ``ValueError`` unless ``image`` is (H, W, 3) uint8 with pixels in it."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError('the camera needs an 8-bit colour image of shape (H, W, 3), '
                         f'got {image.dtype} of shape {image.shape}')


def mosaic(image: np.ndarray) -> np.ndarray:
    """One colour a pixel, RGGB: BGR (H, W, 3) to sensor (H, W)."""
    raw = image[..., 1].copy()
    raw[0::2, 0::2] = image[0::2, 0::2, 2]
    raw[1::2, 1::2] = image[1::2, 1::2, 0]
    return raw


def demosaic(raw: np.ndarray) -> np.ndarray:
    """Bilinear demosaicing: sensor (H, W) in DN to 8-bit BGR (H, W, 3), clipped, rounded.

    A pixel keeps the colour it measured; the others are the mean of the pixels of that
    colour among its 3x3 neighbours, so that the border needs no special case.
    """
    colours = []
    for mask, kernel in zip(_bayer_masks(raw.shape), _BILINEAR_BGR):
        summed = cv2.filter2D(mask * raw, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        weight = cv2.filter2D(mask, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        colours.append(summed / np.maximum(weight, 1))
    return np.rint(np.stack(colours, axis=-1)).clip(0, 255).astype(np.uint8)


def _bayer_masks(shape: Tuple[int, int]) -> np.ndarray:
    """Which pixel measures which colour: (3, H, W) float32 of zeros and ones, BGR."""
    masks = np.zeros((3, *shape), np.float32)
    masks[0, 1::2, 1::2] = 1
    masks[1, 0::2, 1::2] = 1
    masks[1, 1::2, 0::2] = 1
    masks[2, 0::2, 0::2] = 1
    return masks


def darken(image: np.ndarray, level: str, rng: np.random.Generator,
           camera: Camera = Camera()) -> np.ndarray:
    """:meth:`Camera.expose` at a named level.

    Args:
        image (np.ndarray): (H, W, 3), uint8, BGR.
        level (str): A key of :data:`LEVELS`.
        rng (np.random.Generator): Source of the noise.
        camera (Camera): The sensor; its ``mean`` is replaced by the level's.

    Raises:
        ValueError: If the level is unknown, or ``image`` is no 8-bit colour image.
    """
    if level not in LEVELS:
        raise ValueError(f'unknown darkness level {level!r}; use one of {tuple(LEVELS)}')
    return replace(camera, mean=LEVELS[level]).expose(image, rng)
