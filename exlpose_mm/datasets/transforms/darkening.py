"""Low light from well-lit images: a camera, and two augmentations to compare it with."""

import json
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS

from exlpose_mm.camera.simulation import Camera, camera_of, check_image, draw_camera
from exlpose_mm.datasets.transforms.enhancement import gamma_correction
from exlpose_mm.lighting import LIGHTINGS
from exlpose_mm.splits import ROW_OF_LEVEL

RANDOM = 'exlpose'
"""The level of a random camera like ExLPose's."""


class Darken(BaseTransform):
    """Make the dark partner of the single image of any MMPose dataset; a base class.

    Required key: ``img``, (H, W, 3) uint8 BGR, the well-lit image, which is not changed.
    Modified and added keys: ``img``, the pair ``[low, well]``, ``lighting`` and ``simulated``, from which
    :func:`darken_again` makes the same frame, if it can be made again.

    Args:
        paired (bool): Keep the well-lit image as the partner; else ``img`` is the low-light
            image alone. Defaults to True.

    Raises:
        ValueError: If an image is not (H, W, 3) uint8.
    """

    def __init__(self, paired: bool = True) -> None:
        self.paired = paired

    def simulate(self, image: np.ndarray, results: dict) -> np.ndarray:
        """Return the low-light image; by default :meth:`darken`, seeded by numpy's global state."""
        return self.darken(image, np.random.default_rng(np.random.randint(2**31)))

    def recipe(self) -> str:
        """How the frame was made: here only the name, since it was drawn at random."""
        return type(self).__name__

    def darken(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a new, dark image of the same shape; uint8 to uint8."""
        raise NotImplementedError

    def transform(self, results: dict) -> dict:
        well_lit = results['img']
        check_image(well_lit)
        low_light = self.simulate(well_lit, results)
        results['simulated'] = self.recipe()
        if self.paired:
            results.update(img=[low_light, well_lit], lighting=LIGHTINGS)
        else:
            results.update(img=low_light, lighting='low_light')
        return results


@TRANSFORMS.register_module()
class SimulateLowLight(Darken):
    """Make the dark partner of a well-lit image with :class:`~exlpose_mm.camera.simulation.Camera`.

    Added key, beside those of :class:`Darken`: ``split``, if the level is a row of the table.

    Args:
        level (str | Sequence[float]): For testing, a level of :data:`~exlpose_mm.camera.simulation.LEVELS`
            or a preset of :data:`~exlpose_mm.camera.simulation.PRESETS`. For training, ``'exlpose'``: a
            random camera like ExLPose's (:func:`~exlpose_mm.camera.simulation.draw_camera`); or a range
            ``(low, high)`` of the dark frame's mean in DN, drawn log-uniformly. These draw from
            numpy's global state, which :class:`~exlpose_mm.SeededBatchSampler` seeds per sample.
        paired (bool): As for :class:`Darken`.
        camera (dict, optional): Other parameters of ``Camera``.
        seed (int): The noise of a named camera is a function of this seed, the name and
            ``img_id`` only, so that two runs see the same pixels.

    Raises:
        ValueError: If the level is unknown, the range is not 0 < low <= high <= 255, or a
            parameter of the camera lies outside of its range.
    """

    def __init__(
        self, level: str | Sequence[float], paired: bool = True, camera: dict | None = None, seed: int = 0
    ) -> None:
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

    def simulate(self, image: np.ndarray, results: dict) -> np.ndarray:
        if isinstance(self.level, str) and self.level in ROW_OF_LEVEL:
            results['split'] = ROW_OF_LEVEL[self.level]
        camera, rng = self._draw(results)
        return camera.expose(image, rng)

    def recipe(self) -> str:
        if not isinstance(self.level, str) or self.level == RANDOM:
            return super().recipe()
        return json.dumps(dict(level=self.level, camera=self.camera, seed=self.seed))

    def _draw(self, results: dict) -> tuple[Camera, np.random.Generator]:
        if self.level == RANDOM:
            rng = np.random.default_rng(np.random.randint(2**31))
            return draw_camera(rng, **self.camera), rng
        if isinstance(self.level, str):
            entropy = (self.seed, zlib.crc32(self.level.encode()), int(results['img_id']))
            return camera_of(self.level, **self.camera), np.random.default_rng(entropy)
        low, high = np.log(self.level)
        mean = float(np.exp(np.random.uniform(low, high)))
        return Camera(**{**self.camera, 'mean': mean}), np.random.default_rng(np.random.randint(2**31))


def darken_again(image: np.ndarray, recipe: str, image_id: int) -> np.ndarray:
    """The dark frame that a test saw of a well-lit image.

    Args:
        image (np.ndarray): (H, W, 3) uint8, BGR.
        recipe (str): What the sample's ``simulated`` says.
        image_id (int): Of the image in the annotation file.

    Returns:
        np.ndarray: (H, W, 3) uint8, BGR.

    Raises:
        ValueError: If the frame was drawn at random, or the recipe is not of this version.
    """
    if not recipe.startswith('{'):
        raise ValueError(f'{recipe} draws every dark frame anew: the one that was tested cannot be made again')
    try:
        simulate = SimulateLowLight(**json.loads(recipe), paired=False)
    except TypeError as error:
        raise ValueError(f'{recipe} is not how SimulateLowLight makes a frame: {error}') from error
    return simulate(dict(img=image, img_id=image_id))['img']


@TRANSFORMS.register_module()
class GammaDarken(Darken):
    """Naive darkening: every sample, as a share of 255, to the power of gamma; no noise.

    White stays white whatever the gamma.

    Args:
        gamma (float | Sequence[float]): Exponent, at least 1, or a range ``(low, high)`` to
            draw it from uniformly. Defaults to (2, 5), within which :class:`ELLA`'s lie.
        paired (bool): As for :class:`Darken`.

    Raises:
        ValueError: If not 1 <= low <= high, or as :class:`Darken`.
    """

    def __init__(self, gamma: float | Sequence[float] = (2.0, 5.0), paired: bool = True) -> None:
        super().__init__(paired)
        self.gamma: tuple[float, ...] = (gamma, gamma) if isinstance(gamma, (int, float)) else tuple(gamma)
        if len(self.gamma) != 2 or not 1 <= self.gamma[0] <= self.gamma[1] < np.inf:
            raise ValueError(f'GammaDarken takes an exponent of at least 1 or a range (low, high) of them, got {gamma}')

    def darken(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        low, high = self.gamma
        return gamma_correction(image, rng.uniform(low, high))


@TRANSFORMS.register_module()
class ELLA(Darken):
    """Extremely low-light augmentation of DA-LLPose (Ai et al., ECCV 2024, arXiv 2407.15451).

    Steps and numbers are those of the official code, in its order; each step ends in uint8
    by truncation:

    1. gamma 1 / U(0.2, 0.5), with ``prob``;
    2. brightness times U(0.01, 0.05), with ``prob``;
    3. contrast times U(0.2, 1) about the mean of the luminance, with probability 0.5;
    4. Gaussian noise of standard deviation U(0, 40) DN, its negative half cut off, with
       probability 0.5.

    After each of the first three, rectangles of the image before that step are put back while
    U > 0.4, and before the fourth rectangles of the well-lit image. A rectangle lies between
    two corners drawn at random, of which the first has to be the upper left one: three of
    four are empty.

    Args:
        prob (float): Of steps 1 and 2. Defaults to 1, the official code's where the student
            is trained; its teachers are trained with 0.5.
        paired (bool): As for :class:`Darken`.

    Raises:
        ValueError: If ``prob`` is not in [0, 1], or as :class:`Darken`.
    """

    INVERSE_GAMMA = (0.2, 0.5)
    BRIGHTNESS = (0.01, 0.05)
    CONTRAST = (0.2, 1.0)
    NOISE = (0.0, 40.0)

    def __init__(self, prob: float = 1.0, paired: bool = True) -> None:
        super().__init__(paired)
        if not 0 <= prob <= 1:
            raise ValueError(f'prob is a probability in [0, 1], got {prob}')
        self.prob = prob

    def darken(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        dark = image.copy()
        if rng.random() < self.prob:
            dark = _step(dark, gamma_table(1 / rng.uniform(*self.INVERSE_GAMMA)), rng)
        if rng.random() < self.prob:
            dark = _step(dark, blend_table(rng.uniform(*self.BRIGHTNESS), 0.0), rng)
        if rng.random() < 0.5:
            dark = _step(dark, blend_table(rng.uniform(*self.CONTRAST), mean_luminance(dark)), rng)
        put_back(dark, image, rng)
        if rng.random() < 0.5:
            dark = add_noise(dark, rng.uniform(*self.NOISE), rng)
        return dark


def gamma_table(gamma: float) -> np.ndarray:
    """Lookup table (256,) uint8 of a gamma curve, in 256 steps of equal width."""
    share = np.arange(256, dtype=np.float32) / 255
    return (share ** np.float32(gamma) * 255.999).astype(np.uint8)


def blend_table(ratio: float, base: float) -> np.ndarray:
    """Lookup table (256,) uint8 of ``ratio * x + (1 - ratio) * base``; base in DN."""
    return (ratio * np.arange(256) + (1 - ratio) * base).clip(0, 255).astype(np.uint8)


def mean_luminance(image: np.ndarray) -> float:
    """Mean of the luminance (BT.601), cut to whole DN per pixel, of a BGR image."""
    return float((image @ np.array([0.114, 0.587, 0.2989], np.float32)).astype(np.uint8).mean())


def put_back(image: np.ndarray, before: np.ndarray, rng: np.random.Generator) -> None:
    """Copy random rectangles of ``before`` into ``image``, in place, while U > 0.4."""
    while rng.random() > 0.4:
        (y1, y2), (x1, x2) = (rng.integers(side, size=2) for side in image.shape[:2])
        image[y1:y2, x1:x2] = before[y1:y2, x1:x2]


def add_noise(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Add max(N(0, sigma), 0) to each sample, sigma in DN; uint8 to uint8, cut at 255."""
    noise = rng.standard_normal(image.shape, dtype=np.float32).clip(min=0) * np.float32(sigma)
    return (image + noise).clip(max=255).astype(np.uint8)


def _step(image: np.ndarray, table: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    changed = cv2.LUT(image, table)
    put_back(changed, image, rng)
    return changed
