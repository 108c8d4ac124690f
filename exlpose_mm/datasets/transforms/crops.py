"""The official code's crop of a person (CPN's), for one image or a pair."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS

from exlpose_mm.datasets.transforms.photometry import times
from exlpose_mm.views import views_of


@TRANSFORMS.register_module()
class CPNCrop(BaseTransform):
    """Cut a person out and resize to the network's input, as the official code does.

    The box grows by its margins on each side, then to the aspect ratio of the input. The
    crop's corners are rounded down to whole pixels and the crop is resized bilinearly; where
    it leaves the frame there is the border's colour. The defaults are the official test's.

    Deviation: the official training cuts out at 1.25 and then resizes the middle of the
    result once more to the drawn factor. Here the factor is applied before the one resizing,
    so that no detail is lost.

    Required keys: ``img``, (H, W, 3) or a list of such, ``bbox`` (1, 4), x1 y1 x2 y2 in
    pixels, and optionally ``keypoints`` (1, K, 2). Modified key: ``img``, (h, w, 3) of the
    same type. Added keys: ``transformed_keypoints`` in input pixels, ``bbox_center`` and
    ``bbox_scale`` (1, 2), ``input_center`` and ``input_scale`` (2,), ``input_size``.

    Args:
        input_size (tuple[int, int]): (w, h).
        margins (tuple[float, float]): Share of the width that is added left and right, and
            of the height above and below. Defaults to (0.1, 0.15).
        scale_range (tuple[float, float], optional): Range of a uniform random factor, in
            training (0.7, 1.35). Defaults to None: no randomness.
        max_scale (float): Upper limit of the drawn factor. Defaults to 1.25.
        border (Sequence[float]): Colour in the channel order of the image, BGR. Defaults to
            CPN's mean colour.

    Behind a :class:`~exlpose_mm.ScaleToMean` that knows of this crop, it scales what is cut out. The result is that of
    scaling the whole frame, the border's colour stays, and the rest of the frame costs nothing.

    Raises:
        ValueError: If a margin is negative, or a factor or a side not positive.
    """

    takes_gains = True

    def __init__(
        self,
        input_size: tuple[int, int],
        margins: tuple[float, float] = (0.1, 0.15),
        scale_range: tuple[float, float] | None = None,
        max_scale: float = 1.25,
        border: Sequence[float] = (102.98, 115.95, 122.77),
    ) -> None:
        low, high = scale_range or (1.0, 1.0)
        if min(margins) < 0 or not 0 < low <= high or max_scale <= 0 or min(input_size) <= 0:
            raise ValueError(
                'CPNCrop needs a positive input_size, margins >= 0, 0 < low <= high in scale_range and '
                f'max_scale > 0, got {input_size}, {margins}, {scale_range}, {max_scale}'
            )
        self.input_size = tuple(input_size)
        self.growth = 1 + 2 * np.array(margins)
        self.scale_range, self.max_scale = scale_range, max_scale
        self.border = tuple(border)

    def transform(self, results: dict) -> dict:
        corners = self._corners(results['bbox'][0], self._draw_scale())
        images, gains = results['img'], results.pop('gains', {})
        if isinstance(images, list):
            views = views_of(results) if gains else [''] * len(images)
            results['img'] = [self._cut(image, corners, gains.get(view)) for image, view in zip(images, views)]
        else:
            results['img'] = self._cut(images, corners, *gains.values())
        scale = (corners[1] - corners[0]).astype(np.float32)
        center = np.float32(corners.mean(axis=0))
        if results.get('keypoints') is not None:
            moved = results['keypoints'].copy()
            moved[..., :2] = (moved[..., :2] - corners[0]) * (self.input_size / scale)
            results['transformed_keypoints'] = moved
        results.update(
            bbox_center=center[None],
            bbox_scale=scale[None],
            input_center=center,
            input_scale=scale,
            input_size=self.input_size,
        )
        return results

    def reach(self, results: dict) -> np.ndarray:
        """Corners ((x0, y0), (x1, y1)) of the largest crop that may be drawn."""
        largest = min(self.scale_range[1], self.max_scale) if self.scale_range else 1.0
        return self._corners(results['bbox'][0], largest)

    def _corners(self, bbox: np.ndarray, scale: float) -> np.ndarray:
        """Corners of the crop in whole pixels: ((x0, y0), (x1, y1)), the second exclusive."""
        bbox = np.asarray(bbox, np.float64).reshape(2, 2)
        aspect = np.array(self.input_size) / max(self.input_size)
        size = aspect * ((bbox[1] - bbox[0]) * self.growth / aspect).max() * scale
        center = bbox.mean(axis=0)
        corners = np.floor([center - size / 2, center + size / 2]).astype(int)
        corners[1] = np.maximum(corners[1], corners[0] + 1)
        return corners

    def _draw_scale(self) -> float:
        if self.scale_range is None:
            return 1.0
        return min(np.random.uniform(*self.scale_range), self.max_scale)

    def _cut(self, image: np.ndarray, corners: np.ndarray, gain: np.ndarray | None = None) -> np.ndarray:
        frame = np.array(image.shape[1::-1])
        inside = corners.clip(0, frame)
        (left, top), (right, bottom) = np.abs(inside - corners)
        (x0, y0), (x1, y1) = inside
        crop = image[y0:y1, x0:x1]
        if gain is not None:
            crop = times(crop, gain)
        if not crop.size:
            crop = np.full((*(corners[1] - corners[0])[::-1], 3), self.border, crop.dtype)
        elif left or top or right or bottom:
            crop = cv2.copyMakeBorder(crop, top, bottom, left, right, cv2.BORDER_CONSTANT, value=self.border)
        return cv2.resize(crop, self.input_size, interpolation=cv2.INTER_LINEAR)
