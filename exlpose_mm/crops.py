"""The official code's crop of a person (CPN's), for one image or a pair."""
from typing import Optional, Sequence, Tuple

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import TopdownAffine
from mmpose.registry import TRANSFORMS
from mmpose.structures.bbox import bbox_xyxy2cs


@TRANSFORMS.register_module()
class CPNBBoxCenterScale(BaseTransform):
    """Centre and size of the crop around a box.

    The box grows by its margins on each side, and in training by a fixed and by a random
    factor; ``TopdownAffine`` then widens it to the input's aspect ratio. The defaults are
    those of the official test code.

    Required key: ``bbox`` (1, 4), x1 y1 x2 y2 in pixels. Added keys: ``bbox_center``,
    ``bbox_scale`` (1, 2), w h in pixels.

    Args:
        margins (tuple[float, float]): Share of the width that is added left and right, and
            of the height above and below. Defaults to (0.1, 0.15).
        padding (float): Fixed factor; the official training uses 1.25. Defaults to 1.
        scale_range (tuple[float, float], optional): Range of a uniform random factor; the
            official training uses (0.7, 1.35). Defaults to None: no randomness.

    Raises:
        ValueError: If a margin is negative, or a factor not positive.
    """

    def __init__(self, margins: Tuple[float, float] = (0.1, 0.15), padding: float = 1.,
                 scale_range: Optional[Tuple[float, float]] = None) -> None:
        low, high = scale_range or (1., 1.)
        if min(margins) < 0 or padding <= 0 or not 0 < low <= high:
            raise ValueError('a crop needs margins >= 0, padding > 0 and 0 < low <= high in scale_range, '
                             f'got {margins}, {padding}, {scale_range}')
        self.growth = padding * (1 + 2 * np.float32(margins))
        self.scale_range = (low, high)

    def transform(self, results: dict) -> dict:
        center, scale = bbox_xyxy2cs(results['bbox'])
        results['bbox_center'] = center
        results['bbox_scale'] = scale * self.growth * np.float32(np.random.uniform(*self.scale_range))
        return results


@TRANSFORMS.register_module()
class BorderedAffine(TopdownAffine):
    """MMPose's ``TopdownAffine`` with a colour where the crop leaves the frame.

    Args:
        input_size (tuple[int, int]): (w, h).
        border (Sequence[float]): Colour in the channel order of the image, BGR. Defaults to
            CPN's mean colour.
        **kwargs: As for :class:`mmpose.datasets.transforms.TopdownAffine`.

    Modified key: ``img``, now float32.
    """

    def __init__(self, input_size: Tuple[int, int],
                 border: Sequence[float] = (102.98, 115.95, 122.77), **kwargs) -> None:
        super().__init__(input_size, **kwargs)
        self.border = np.float32(border)

    def transform(self, results: dict) -> dict:
        # An affine warp is linear: padding with zeros around `image - border` is padding
        # with the border's colour.
        pair = isinstance(results['img'], list)
        images = results['img'] if pair else [results['img']]
        results['img'] = [image - self.border for image in images]
        results = super().transform(results)
        warped = [image + self.border for image in results['img']]
        results['img'] = warped if pair else warped[0]
        return results
