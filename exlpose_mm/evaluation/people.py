"""The people of a test, each with its own prediction: what a report shows single failures from.

One ``.npz`` of plain arrays, readable by :func:`numpy.load` without pickle and without this package. An
entry is a person under one lighting, tested on its annotated box; its arrays are the attributes of
:class:`PersonResults`. Legend of shapes: P entries, K joints, L links of the skeleton.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Optional
from zipfile import BadZipFile

import numpy as np

SHARED = ('joints', 'links')


class PeopleError(ValueError):
    """A file of people cannot be read, or two do not fit together."""


@dataclass(frozen=True)
class PersonResults:
    """Predictions and labels of people, the same index in each array being one person.

    Attributes:
        split (np.ndarray): (P,) row of the results table.
        lighting (np.ndarray): (P,) ``'low_light'`` or ``'well_lit'``.
        data_root (np.ndarray): (P,) folder that ``image`` is relative to; ``''`` if it is not.
        image (np.ndarray): (P,) file that was read.
        simulated (np.ndarray): (P,) how the dark frame was made of that file: JSON, the arguments of
            :class:`~exlpose_mm.SimulateLowLight`; the transform's name if it drew at random; ``''``
            for a photograph.
        image_id, annotation_id (np.ndarray): (P,) in the split's annotation file.
        box (np.ndarray): (P, 4) annotated, x, y, width, height in pixels of the image.
        keypoints (np.ndarray): (P, K, 2) predicted, in pixels.
        scores (np.ndarray): (P, K) of the predicted joints.
        labels (np.ndarray): (P, K, 3) annotated x, y in pixels and v: 0 unlabelled, 1 hidden, 2 visible.
        oks (np.ndarray): (P,) object keypoint similarity, in [0, 1].
        joints (np.ndarray): (K,) names.
        links (np.ndarray): (L, 2) pairs of joints that a skeleton connects.
    """

    split: np.ndarray
    lighting: np.ndarray
    data_root: np.ndarray
    image: np.ndarray
    simulated: np.ndarray
    image_id: np.ndarray
    annotation_id: np.ndarray
    box: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    oks: np.ndarray
    joints: np.ndarray
    links: np.ndarray

    @classmethod
    def of(cls, entries: Sequence[dict], joints: Sequence[str], links: Sequence[Sequence[int]]) -> 'PersonResults':
        """Stack entries, dicts of one person's attributes each; numbers with a fraction become float32."""
        columns = {name: np.array([entry[name] for entry in entries]) for name in _own_names()}
        columns = {
            name: column.astype(np.float32) if column.dtype == float and name != 'oks' else column
            for name, column in columns.items()
        }
        return cls(**columns, joints=np.array(joints), links=np.array(links, dtype=np.int64).reshape(-1, 2))

    def __len__(self) -> int:
        return len(self.oks)

    def __getitem__(self, index: np.ndarray | slice) -> 'PersonResults':
        """The people of an index array, a mask or a slice."""
        return replace(self, **{name: getattr(self, name)[index] for name in _own_names()})

    @property
    def errors(self) -> np.ndarray:
        """(P, K) distance of each joint from its label, in units of the person's scale.

        The scale is the square root of the area of the annotated box; nan where there is no label, inf
        where a prediction is not a number.
        """
        distances = np.linalg.norm(self.keypoints - self.labels[..., :2], axis=-1)
        scale = np.sqrt(self.box[:, 2] * self.box[:, 3])
        errors = distances / np.maximum(scale, np.finfo(np.float32).tiny)[:, None]
        return np.where(self.labels[..., 2] > 0, np.where(np.isnan(errors), np.inf, errors), np.nan)

    def write(self, path: str) -> None:
        """Write the arrays to an ``.npz``."""
        np.savez_compressed(path, **{name: getattr(self, name) for name in _names()})

    @classmethod
    def read(cls, path: str) -> 'PersonResults':
        """Read what :meth:`write` wrote.

        Raises:
            PeopleError: If the file is missing, damaged, or lacks an array.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                people = cls(**{name: arrays[name] for name in _names()})
        except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
            raise PeopleError(
                f'cannot read {path}: {error}; delete it to do without single people, or test again'
            ) from error
        people._check(path)
        return people

    def _check(self, path: str) -> None:
        count, joints = len(self.oks), len(self.joints)
        shapes: dict[str, tuple] = dict(box=(4,), keypoints=(joints, 2), scores=(joints,), labels=(joints, 3))
        for name in _own_names():
            expected, found = (count, *shapes.get(name, ())), getattr(self, name).shape
            if found != expected:
                raise PeopleError(f'{path}: {name} has the shape {found}, expected {expected}; test again')
        if self.links.ndim != 2 or not np.isin(self.links, np.arange(joints)).all():
            raise PeopleError(f'{path}: links name joints that are not among the {joints}; test again')

    @classmethod
    def join(cls, parts: Sequence[Optional['PersonResults']]) -> Optional['PersonResults']:
        """All people of several tests; None if there are none.

        Raises:
            PeopleError: If their joints differ.
        """
        found: list[PersonResults] = [part for part in parts if part is not None]
        if not found:
            return None
        if any(not np.array_equal(part.joints, found[0].joints) for part in found):
            raise PeopleError(
                'results of one name have different joints: '
                + '; '.join(', '.join(map(str, part.joints)) for part in found)
            )
        return replace(
            found[0], **{name: np.concatenate([getattr(part, name) for part in found]) for name in _own_names()}
        )


def _names() -> list[str]:
    return [field.name for field in fields(PersonResults)]


def _own_names() -> list[str]:
    return [name for name in _names() if name not in SHARED]
