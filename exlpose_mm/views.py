"""The images of a sample by name, and those of a batch."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

MOMENTUM_VIEW = 'momentum_view'
"""Input of the momentum teacher: the dark image without what :class:`OnStudent` does to it."""


class SomeImages(NamedTuple):
    """Images of a view that not every sample of a batch has.

    Attributes:
        rows (list[int]): Places in the batch of the B' samples that have it, ascending.
        images (Tensor | list[Tensor]): (B', C, H, W), or B' of (C, H, W) if they differ in size.
    """

    rows: list[int]
    images: Tensor | list[Tensor]


Images = Tensor | SomeImages | Sequence[Tensor | None]


def some_images(images: Images) -> SomeImages:
    """Those of a view that are there."""
    if isinstance(images, SomeImages):
        return images
    if isinstance(images, Tensor):
        return SomeImages([*range(len(images))], images)
    rows = [i for i, image in enumerate(images) if image is not None]
    return SomeImages(rows, [images[i] for i in rows])
