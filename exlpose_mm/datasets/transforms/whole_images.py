"""Whole images and boxes, for detectors: both images of a pair moved alike, and packed."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import torch
from mmcv.transforms import BaseTransform, Compose
from mmdet.datasets.transforms import PackDetInputs
from mmpose.registry import TRANSFORMS
from torch import Tensor

from exlpose_mm.datasets.transforms.packing import PackPairedInputs
from exlpose_mm.views import views_of

SHARED = ('img', 'dataset')
"""Of a sample, what steps replace or leave alone, and need not copy."""


@contextmanager
def repeated_randomness() -> Iterator[None]:
    """After the block Python's, NumPy's and torch's CPU generator are what they were before it."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@TRANSFORMS.register_module()
class OnViews(BaseTransform):
    """Move all images of a sample alike, by steps that know of one image only, as MMDetection's.

    The steps run once for each image, each time with the same random numbers and a copy of the labels. A single image
    goes through them as without this. They must not look at pixels to say where these go, nor keep images for the next
    sample, as mosaics do.

    Args:
        transforms (list[dict]): The geometric steps.

    Raises:
        ValueError: If they moved two images of a sample differently.
    """

    def __init__(self, transforms: list[dict]) -> None:
        self.transforms = Compose([TRANSFORMS.build(cfg) for cfg in transforms])

    def transform(self, results: dict) -> dict | None:
        if not isinstance(results['img'], list):
            return self.transforms(results)
        first, *others = results['img']
        moved = [self._repeatable(results, image) for image in others]
        done = self._run(results, first)
        for other in moved:
            self._check_alike(done, other)
        if done is not None:
            done['img'] = [each['img'] for each in (done, *moved) if each]
        return done

    def _repeatable(self, results: dict, image: np.ndarray) -> dict | None:
        with repeated_randomness():
            return self._run(results, image)

    def _run(self, results: dict, image: np.ndarray) -> dict | None:
        labels = deepcopy({key: value for key, value in results.items() if key not in SHARED})
        return self.transforms({**results, **labels, 'img': image})

    def _check_alike(self, first: dict | None, other: dict | None) -> None:
        if _places(first) != _places(other):
            steps = ', '.join(type(step).__name__ for step in self.transforms.transforms)
            raise ValueError(
                f'the images of a pair were moved differently by {steps}: take steps that draw their random '
                "numbers from Python's, NumPy's or torch's generator, and do not look at the pixels"
            )


def _places(results: dict | None) -> tuple | None:
    """Size of a moved image, and where its boxes are; None of one that the steps gave up."""
    if results is None:
        return None
    boxes = results.get('gt_bboxes', ())
    return results['img'].shape[:2], np.asarray(getattr(boxes, 'tensor', boxes)).tolist()


@TRANSFORMS.register_module()
class PackPairedDetInputs(PackDetInputs):
    """Pack a pair for a detector as one sample with two inputs, or a single image as MMDetection does.

    Returns, for a pair, ``inputs={'low_light': (C, H, W), 'well_lit': (C, H, W)}`` and one ``DetDataSample``. What
    :class:`~exlpose_mm.PackPairedInputs` adds to the meta keys is added here.

    Args:
        meta_keys (Sequence[str]): Further meta keys.
    """

    meta_keys: tuple[str, ...]

    def __init__(self, meta_keys: Sequence[str] = ()) -> None:
        super().__init__()
        self.meta_keys = (*self.meta_keys, *PackPairedInputs.LIGHTING_KEYS, *meta_keys)

    def transform(self, results: dict) -> dict:
        images = results['img']
        if not isinstance(images, list):
            return super().transform(results)
        packed = super().transform({**results, 'img': images[0]})
        packed['inputs'] = dict(zip(views_of(results), map(self._as_tensor, images)))
        return packed

    def _as_tensor(self, image: np.ndarray) -> Tensor:
        return super().transform(dict(img=image))['inputs']
