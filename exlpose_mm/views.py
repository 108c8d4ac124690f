"""The images of a sample by name, and which sample of a batch has which.

A sample says by ``lighting`` under which lighting its image was taken: one name, or the two of a pair. The images of
a pair are a list in that order. A list with further images names them all by ``views``. This is the only place
that reads the two; what is said of neither is a pair.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from exlpose_mm.lighting import LIGHTINGS, check_lighting

MOMENTUM_VIEW = 'momentum_view'
"""Input of the momentum teacher: the dark image without what :class:`OnStudent` does to it."""

VIEWS = (*LIGHTINGS, MOMENTUM_VIEW)
"""All that an image of a sample may be."""


def lighting_of(sample: Mapping[str, Any]) -> str | Sequence[str]:
    """The lighting of a sample's image, or those of its images.

    Raises:
        KeyError: If it carries none.
    """
    if 'lighting' not in sample:
        raise KeyError(
            f'the sample {sample.get("img_path")} carries no "lighting": put TagLighting, LoadPairedImages or '
            'SimulateLowLight before what needs it, or use ExLPoseDataset; and pack with PackPairedInputs'
        )
    return sample['lighting']


def views_of(sample: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of a sample's images, in their order.

    Raises:
        KeyError: If it carries no ``lighting``.
    """
    names = sample.get('views') or lighting_of(sample)
    return (names,) if isinstance(names, str) else tuple(names)


def lighting_of_view(view: str) -> str:
    """The lighting under which a view runs, and whose photometric steps it gets."""
    return 'low_light' if view == MOMENTUM_VIEW else view


def rows_by_lighting(samples: Sequence) -> dict[str, list[int]]:
    """Places in a batch of single images, by lighting in order of appearance.

    Args:
        samples (sequence[PoseDataSample]): One for each image.

    Raises:
        KeyError: If a sample carries no ``lighting``.
        ValueError: If a lighting is unknown.
    """
    rows: dict[str, list[int]] = {}
    for i, sample in enumerate(samples):
        rows.setdefault(check_lighting(lighting_of(sample.metainfo)), []).append(i)
    return rows


class BatchViews:
    """Which samples of a batch for training have an image of which lighting, and which of these have labels.

    Args:
        samples (sequence[PoseDataSample]): B samples, each a pair or a single image. Those without ``lighting`` are
            pairs; those without ``labelled`` have labels for all their images.

    Attributes:
        rows (dict): Lighting to the places in the batch, ascending, of the samples that have such an image.
        labelled (dict): Lighting to one bool for each of them: its labels may be used.
        pairs (dict): Lighting to the places of the pairs among the images of that lighting: two lists of one length.
    """

    def __init__(self, samples: Sequence) -> None:
        facts = [dict(dict(lighting=LIGHTINGS, labelled=LIGHTINGS), **sample.metainfo) for sample in samples]
        views = [views_of(sample) for sample in facts]
        self.rows = {name: [i for i, names in enumerate(views) if name in names] for name in LIGHTINGS}
        self.labelled = {name: [name in facts[i]['labelled'] for i in rows] for name, rows in self.rows.items()}
        both = set.intersection(*map(set, self.rows.values()))
        self.pairs = {name: [k for k, i in enumerate(rows) if i in both] for name, rows in self.rows.items()}


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
    there = {i: image for i, image in enumerate(images) if image is not None}
    return SomeImages([*there], [*there.values()])
