"""Steps for whole images with several people, one lighting or a pair of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import BottomupGetHeatmapMask, BottomupRandomAffine
from mmpose.registry import TRANSFORMS
from pycocotools import mask as coco_mask

from exlpose_mm.datasets.transforms.photometry import cut_at_frame, enlarged


@TRANSFORMS.register_module()
class PairedRandomAffine(BottomupRandomAffine):
    """MMPose's ``BottomupRandomAffine`` of all images of a sample alike, and one that a ``RandomFlip`` may follow.

    Args:
        input_size (tuple[int, int]): (w, h), equal: MMPose's ``RandomFlip``, which reads it as (h, w), would put joints
            elsewhere.
        bbox_keep_corner (bool): Leave the four corners of a turned box in place of the upright box around them,
            MMPose's default, which RTMO and flips of boxes do not understand. Defaults to False.
        **kwargs: As for :class:`mmpose.datasets.transforms.BottomupRandomAffine`.

    Raises:
        ValueError: If the input is not a square.
    """

    _transform: Callable[..., Any]

    def __init__(self, input_size: tuple[int, int], bbox_keep_corner: bool = False, **kwargs: Any) -> None:
        if len(input_size) != 2 or input_size[0] != input_size[1]:
            raise ValueError(f'PairedRandomAffine takes a square input_size, as RandomFlip needs, got {input_size}')
        super().__init__(tuple(input_size), bbox_keep_corner=bbox_keep_corner, **kwargs)
        self._warp: Callable[..., np.ndarray] = self._transform
        self._transform = self._warp_all

    def _warp_all(self, images: np.ndarray | list[np.ndarray], *args: Any) -> np.ndarray | list[np.ndarray]:
        if isinstance(images, list):
            return [self._warp(image, *args) for image in images]
        return self._warp(images, *args)


@TRANSFORMS.register_module()
class MaskInvalidPeople(BottomupGetHeatmapMask):
    """MMPose's ``BottomupGetHeatmapMask`` with outlines filled by pycocotools.

    MMPose's asks xtcocotools, which cannot do it under NumPy 2, and leaves out crowds, whose outline is no polygon.

    Required keys: ``invalid_segs``, segmentations in COCO's format, polygons or run lengths; ``img_shape``,
    ``input_size`` and, if the image was changed, ``warp_mat`` and ``flip``. Added key: ``heatmap_mask``, (H, W) bool of
    the heatmap's size, false where the maps have no loss.
    """

    def _segs_to_mask(self, segs: list, img_shape: tuple[int, int]) -> np.ndarray:
        outlines = []
        for seg in segs:
            compressed = isinstance(seg, dict) and not isinstance(seg['counts'], list)
            encoded = seg if compressed else coco_mask.frPyObjects(seg, *img_shape)
            outlines += encoded if isinstance(encoded, list) else [encoded]
        return coco_mask.decode(coco_mask.merge(outlines)) if outlines else np.zeros(img_shape, np.uint8)


@TRANSFORMS.register_module()
class DarkenPeople(BaseTransform):
    """Person-specific darkening of DA-LLPose (Ai et al., ECCV 2024), of every person of an image by itself.

    Each person's box, enlarged, is multiplied by a factor of its own; where boxes overlap, so do the factors. The
    result is float32, so that nothing of a dark image is rounded away. :class:`~exlpose_mm.ThinPhotons` with
    ``person=True`` is the same of one person, and of photons.

    Required keys: ``img``, (H, W, 3), and ``bbox`` (N, 4), x1 y1 x2 y2 in its pixels. It belongs before the geometric
    steps, and draws from numpy's global state.

    Args:
        factor (tuple[float]): Range of the factor, drawn uniformly. Defaults to (0.1, 0.5), theirs.
        prob (float): Of darkening a person. Defaults to 0.5, theirs.
        scale (float): The box is enlarged by this factor. Defaults to 1.5, theirs.

    Raises:
        ValueError: If not 0 <= low <= high <= 1, ``prob`` is no probability, or ``scale`` is not positive.
    """

    def __init__(self, factor: tuple[float, float] = (0.1, 0.5), prob: float = 0.5, scale: float = 1.5) -> None:
        if len(factor) != 2 or not 0 <= factor[0] <= factor[1] <= 1 or not 0 <= prob <= 1 or not scale > 0:
            raise ValueError(
                'DarkenPeople takes factor = (low, high) with 0 <= low <= high <= 1, a probability and a positive '
                f'scale, got factor={factor}, prob={prob}, scale={scale}'
            )
        self.factor, self.prob, self.scale = factor, prob, scale

    def transform(self, results: dict) -> dict:
        image, (low, high) = results['img'].astype(np.float32), self.factor
        for box in results['bbox']:
            if np.random.rand() < self.prob:
                image[cut_at_frame(enlarged(box, self.scale), image)] *= np.random.uniform(low, high)
        results['img'] = image
        return results
