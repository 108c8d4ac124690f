"""Annotation files as they are read everywhere: COCO's, and ExLPose's list with one entry a person, in COCO's form."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from mmengine.fileio import load
from mmengine.utils import is_list_of

from exlpose_mm.datasets.files import DatasetError
from exlpose_mm.joints import JOINTS

Size = tuple[int, int]
"""Width and height."""
FIELDS: dict[str, tuple[type, ...]] = {
    'imgInfo.imgID': (Integral, str),
    'imgInfo.img_paths': (str,),
    'unit.keypoints': (list,),
    'unit.GT_bbox': (list,),
}
"""What is read of an entry of a list of people; ``num_keypoints`` is counted, and every ``score`` is a label's."""


def read_json(path: str) -> Any:
    """What an annotation file holds.

    Raises:
        DatasetError: If it is no JSON in UTF-8, without a byte order mark.
    """
    try:
        return load(path)
    except ValueError as error:
        raise DatasetError(f'{path} is no JSON file, or not all of it: {error}; download or make it again') from error


def read_annotations(path: str, size_of: Callable[[str], Size] | None = None) -> Any:
    """What an annotation file holds, in COCO's form if it is a list of people.

    ``ExLPose_train_trans.json``, in which ExLPose's training set is public, is such a list. Its people get their index
    as ``id``, and corners of a box (x1, y1, x2, y2) become a corner and a size.

    Args:
        path (str): The file.
        size_of (Callable, optional): Width and height of the image of a ``file_name``, which a list of people does not
            tell. By default its images have none.

    Raises:
        DatasetError: As :func:`read_json`, or if an entry of a list of people is not as it ought to be; names the file
            and the entry.
    """
    content = read_json(path)
    return _as_coco(content, path, size_of) if is_list_of_people(content) else content


def is_list_of_people(content: Any) -> bool:
    """Whether an annotation file holds one entry a person, each with its image and a ``unit`` of labels."""
    return is_list_of(content, dict) and any('imgInfo' in entry or 'unit' in entry for entry in content)


def holds_list(path: str) -> bool:
    """Whether a JSON file holds a list, by its first sign."""
    with open(path, 'rb') as file:
        return file.read(100).lstrip().startswith(b'[')


def _as_coco(entries: list[dict], path: str, size_of: Callable[[str], Size] | None) -> dict:
    images: dict[int, str] = {}
    people = []
    for index, entry in enumerate(entries):
        try:
            name, person = _person(entry, index)
            known = images.setdefault(person['image_id'], name)
            if known != name:
                raise ValueError(f'has the imgInfo.imgID {person["image_id"]} of another image, {known}')
        except ValueError as error:
            raise DatasetError(f'{path}: entry {index}, counted from 0, {error}; correct it or take it out') from error
        people.append(person)
    return dict(
        images=[dict(id=i, file_name=name, **_size(name, size_of)) for i, name in images.items()],
        annotations=people,
        categories=[dict(id=1, name='person', keypoints=list(JOINTS))],
    )


def _person(entry: dict, index: int) -> tuple[str, dict]:
    """The name of the image, and the annotation of one person."""
    image, name, keypoints, corners = (_field(entry, field) for field in FIELDS)
    if isinstance(image, str) and not image.isdecimal():
        raise ValueError(f'has the imgInfo.imgID {image!r}, which is no whole number')
    box = numbers(corners, (2, 2))
    if box is None:
        raise ValueError(f'has no unit.GT_bbox of four numbers (x1, y1, x2, y2): {corners!r}')
    labelled = sum(v != 0 for v in keypoints[2::3])
    bbox = [*box[0].tolist(), *(box[1] - box[0]).tolist()]
    known = dict(category_id=1, iscrowd=0, bbox=bbox, keypoints=keypoints, num_keypoints=labelled)
    return name, dict(id=index, image_id=int(image), **known)


def _field(entry: dict, field: str) -> Any:
    part, key = field.split('.')
    value = entry[part].get(key) if isinstance(entry.get(part), dict) else None
    if not isinstance(value, FIELDS[field]):
        raise ValueError(f'has the {field} {value!r}')
    return value


def _size(name: str, size_of: Callable[[str], Size] | None) -> dict[str, int]:
    return {} if size_of is None else dict(zip(('width', 'height'), size_of(name)))


def numbers(values: Any, shape: tuple[int, ...]) -> np.ndarray | None:
    """Finite numbers of a shape, or None."""
    try:
        array = np.reshape(values, shape)
    except (ValueError, TypeError):
        return None
    return array.astype(float) if array.dtype.kind in 'iuf' and np.isfinite(array).all() else None
