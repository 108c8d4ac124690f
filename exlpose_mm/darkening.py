"""Low light from well-lit images: a camera, and two augmentations to compare it with."""
import zlib
from abc import abstractmethod
from typing import Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS

from .camera import Camera, camera_of, check_image, draw_camera
from .enhancement import gamma_correction
from .lighting import LIGHTINGS

SPLITS = {'normal': 'LL-N', 'hard': 'LL-H', 'extreme': 'LL-E', 'exlpose-normal': 'LL-N',
          'exlpose-hard': 'LL-H', 'exlpose-extreme': 'LL-E', 'a7m3': 'A7M3', 'ricoh3': 'RICOH3'}
"""Row of the results table for each level of simulated darkness."""
RANDOM = 'exlpose'
"""The level of a random camera like ExLPose's."""


class Darken(BaseTransform):
    """Turns the single image of any MMPose data set into a pair, or into its low-light image.

    Required key: ``img``, (H, W, 3) uint8 BGR. Modified key: ``img``. Added key: ``lighting``.

    Args:
        paired (bool): Keep the well-lit image as the partner, ``img = [low_light, well_lit]``.
            Defaults to True.
    """

    def __init__(self, paired: bool = True) -> None:
        self.paired = paired

    @abstractmethod
    def darken(self, image: np.ndarray, results: dict) -> np.ndarray:
        """The low-light image (H, W, 3) uint8 BGR of a well-lit one."""

    def transform(self, results: dict) -> dict:
        well_lit = results['img']
        check_image(well_lit)
        low_light = self.darken(well_lit, results)
        if self.paired:
            results.update(img=[low_light, well_lit], lighting=LIGHTINGS)
        else:
            results.update(img=low_light, lighting='low_light')
        return results


@TRANSFORMS.register_module()
class SimulateLowLight(Darken):
    """Make the dark partner of a well-lit image with :class:`~exlpose_mm.camera.Camera`.

    Added key, beside those of :class:`Darken`: ``split``, if the level is a row of the table.

    Args:
        level (str | Sequence[float]): For testing, a level of :data:`~exlpose_mm.camera.LEVELS`
            or a preset of :data:`~exlpose_mm.camera.PRESETS`. For training, ``'exlpose'``: a
            random camera like ExLPose's (:func:`~exlpose_mm.camera.draw_camera`); or a range
            ``(low, high)`` of the dark frame's mean in DN, drawn log-uniformly. These draw from
            numpy's global state, which mmengine seeds per worker.
        paired (bool): As for :class:`Darken`.
        camera (dict, optional): Other parameters of ``Camera``.
        seed (int): The noise of a named camera is a function of this seed, the name and
            ``img_id`` only, so that two runs see the same pixels.

    Raises:
        ValueError: If the level is unknown, the range is not 0 < low <= high <= 255, or a
            parameter of the camera lies outside of its range.
    """

    def __init__(self, level: Union[str, Sequence[float]], paired: bool = True,
                 camera: Optional[dict] = None, seed: int = 0) -> None:
        super().__init__(paired)
        self.level, self.seed = level, seed
        self.camera = camera or {}
        if level == RANDOM:
            draw_camera(np.random.default_rng(0), **self.camera)
        elif isinstance(level, str):
            camera_of(level, **self.camera)
        elif len(level) != 2 or not 0 < level[0] <= level[1] <= 255:
            raise ValueError(f'a range of darkness is 0 < low <= high <= 255 DN, got {level}')
        else:
            Camera(**self.camera)

    def darken(self, image: np.ndarray, results: dict) -> np.ndarray:
        if isinstance(self.level, str) and self.level in SPLITS:
            results['split'] = SPLITS[self.level]
        camera, rng = self._draw(results)
        return camera.expose(image, rng)

    def _draw(self, results: dict) -> Tuple[Camera, np.random.Generator]:
        if self.level == RANDOM:
            rng = np.random.default_rng(np.random.randint(2**31))
            return draw_camera(rng, **self.camera), rng
        if isinstance(self.level, str):
            entropy = (self.seed, zlib.crc32(self.level.encode()), int(results['img_id']))
            return camera_of(self.level, **self.camera), np.random.default_rng(entropy)
        low, high = np.log(self.level)
        mean = float(np.exp(np.random.uniform(low, high)))
        return Camera(**{**self.camera, 'mean': mean}), np.random.default_rng(np.random.randint(2**31))


@TRANSFORMS.register_module()
class GammaDarken(Darken):
    """Darken by a tone curve alone, without noise: 255 (image / 255)^gamma times ``brightness``.

    The naive simulation, to compare others with.

    Args:
        gamma (tuple[float]): Range of the uniform exponent. Defaults to (2, 5).
        brightness (tuple[float]): Range of the uniform factor. Defaults to (0.01, 0.05).
        paired (bool): As for :class:`Darken`.

    Raises:
        ValueError: Unless 0 < low <= high in both ranges, and the brightness is at most 1.
    """

    def __init__(self, gamma: Tuple[float, float] = (2., 5.),
                 brightness: Tuple[float, float] = (0.01, 0.05), paired: bool = True) -> None:
        super().__init__(paired)
        self.gamma = check_range('gamma', gamma, np.inf)
        self.brightness = check_range('brightness', brightness, 1.)

    def darken(self, image: np.ndarray, results: dict) -> np.ndarray:
        curved = gamma_correction(image, np.random.uniform(*self.gamma))
        return scale(curved, np.random.uniform(*self.brightness))


@TRANSFORMS.register_module()
class ELLA(Darken):
    """Extremely low-light augmentation (Ai et al., ECCV 2024), on 8-bit images.

    In this order: a gamma of 1 / U(``gamma``); brightness times U(``brightness``); with
    probability 0.5 contrast times U(``contrast``). After each step random rectangles of the
    image before it are put back, one more as long as a uniform number is above 0.4. At last, with
    probability 0.5, the positive half of N(0, U(0, ``noise``)) is added.

    Args:
        gamma (tuple[float]): Defaults to (0.2, 0.5).
        brightness (tuple[float]): Defaults to (0.01, 0.05).
        contrast (tuple[float]): Defaults to (0.2, 1).
        noise (float): Largest standard deviation in DN. Defaults to 40.
        paired (bool): As for :class:`Darken`.

    Raises:
        ValueError: Unless 0 < low <= high <= 1 in the ranges and the noise is not negative.
    """

    def __init__(self, gamma: Tuple[float, float] = (0.2, 0.5),
                 brightness: Tuple[float, float] = (0.01, 0.05),
                 contrast: Tuple[float, float] = (0.2, 1.), noise: float = 40.,
                 paired: bool = True) -> None:
        super().__init__(paired)
        self.gamma = check_range('gamma', gamma, 1.)
        self.brightness = check_range('brightness', brightness, 1.)
        self.contrast = check_range('contrast', contrast, 1.)
        if not noise >= 0:
            raise ValueError(f'noise must not be negative (DN), got {noise}')
        self.noise = noise

    def darken(self, image: np.ndarray, results: dict) -> np.ndarray:
        uniform = np.random.uniform
        dark = put_back(gamma_correction(image, 1 / uniform(*self.gamma)), image)
        dark = put_back(scale(dark, uniform(*self.brightness)), dark)
        if uniform() < 0.5:
            dark = put_back(adjust_contrast(dark, uniform(*self.contrast)), dark)
        if uniform() < 0.5:
            noise = np.random.normal(0, uniform(0, self.noise), dark.shape)
            dark = (dark + noise.clip(0) + 0.5).clip(0, 255).astype(np.uint8)
        return dark


def check_range(name: str, values: Tuple[float, float], most: float) -> Tuple[float, float]:
    """Return ``values`` if 0 < low <= high <= ``most``, else raise ``ValueError``."""
    if len(values) != 2 or not 0 < values[0] <= values[1] <= most:
        raise ValueError(f'{name} is a range (low, high) with 0 < low <= high <= {most:g}, got {values}')
    return tuple(values)


def scale(image: np.ndarray, factor: float) -> np.ndarray:
    """``image`` times a factor, rounded and clipped; uint8 to uint8."""
    return cv2.LUT(image, (np.arange(256) * factor + 0.5).clip(0, 255).astype(np.uint8))


def adjust_contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Blend with the mean of the image's luminance; uint8 BGR to uint8 BGR."""
    mean = np.rint(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean())
    table = np.arange(256) * factor + (1 - factor) * mean + 0.5
    return cv2.LUT(image, table.clip(0, 255).astype(np.uint8))


def put_back(image: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Copy random rectangles of ``before``, one more while a uniform number is above 0.4."""
    image = image.copy()
    while np.random.uniform() > 0.4:
        (top, bottom), (left, right) = (
            np.sort(np.random.randint(0, side + 1, 2)) for side in image.shape[:2])
        image[top:bottom, left:right] = before[top:bottom, left:right]
    return image
