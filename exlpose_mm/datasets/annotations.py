"""What an annotation file must hold, looked at before anything is made of it.

Without this MMPose's reader would fail far from the cause, or leave people out without a word.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real

import numpy as np
from mmengine.utils import is_list_of

from exlpose_mm.datasets.files import DatasetError
from exlpose_mm.datasets.reading import Size, numbers, read_annotations

SCHEMA: dict[str, dict[str, type]] = dict(
    images=dict(id=Integral, file_name=str, width=Real, height=Real),
    annotations=dict(id=Integral, image_id=Integral, category_id=Integral),
)
LARGEST = 20
"""Times the frame's sides that a box may have: the crop of a larger one would not fit into memory."""


def check_annotations(
    path: str, joints: int, unlabelled: bool = False, size_of: Callable[[str], Size] | None = None
) -> dict:
    """Raise unless an annotation file is whole, and the people in it can be used.

    Annotations of other categories are not looked at. People without labelled joints, who are left out, and crowds may
    have any box. Boxes may leave
    the frame, and joints too; only a person who is outside with all of the box or all of the joints is refused.

    Args:
        path (str): The file.
        joints (int): K, of each person.
        unlabelled (bool): Only boxes are used, those of all people. Defaults to False.
        size_of (Callable, optional): See :func:`~exlpose_mm.datasets.reading.read_annotations`.

    Returns:
        dict: What the file holds, in COCO's form.

    Raises:
        DatasetError: Names the file and, where it is one, the image or annotation.
    """
    content = _load(path, size_of)
    for kind in SCHEMA:
        _check_unique(path, f'id of {kind}', (entry['id'] for entry in content[kind]))
    _check_unique(path, 'file_name', (image['file_name'] for image in content['images']))
    images = {image['id']: image for image in content['images']}
    for person in people_of(content, path):
        problem = person_problem(person, images.get(person['image_id']), joints, unlabelled)
        if problem:
            raise DatasetError(f'{path}: annotation {person["id"]} {problem}; correct it or take it out')
    return content


def _load(path: str, size_of: Callable[[str], Size] | None) -> dict[str, list]:
    content = read_annotations(path, size_of)
    for kind, keys in SCHEMA.items():
        entries = content.get(kind) if isinstance(content, dict) else None
        if not entries or not is_list_of(entries, dict):
            raise DatasetError(f'{path} is no COCO annotation file: it has no list of {kind}')
        for number, entry in enumerate(entries):
            wrong = [key for key, kind_of in keys.items() if not isinstance(entry.get(key), kind_of)]
            if wrong:
                raise DatasetError(
                    f'{path} is no COCO annotation file: number {number} of its {kind} has the '
                    f'{wrong[0]} {entry.get(wrong[0])!r}'
                )
    return content


def _check_unique(path: str, what: str, values: Iterable) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise DatasetError(
            f'{path}: {len(twice)} duplicates: the {what} {twice[0]!r} is there more than once; '
            'all but one would be lost or count twice'
        )


def person_problem(person: dict, image: dict | None, joints: int, unlabelled: bool = False) -> str | None:
    """What is wrong with an annotation of an image (None if it is not listed); None if nothing is."""
    if image is None:
        return f'is of the image {person["image_id"]!r}, which the file does not list'
    keypoints = person.get('keypoints') or ()
    if person.get('iscrowd') or not (keypoints or unlabelled):
        return None
    size = np.array([image['width'], image['height']])
    if unlabelled:
        return box_problem(person, size)
    if len(keypoints) != 3 * joints:
        return f'has {len(keypoints) / 3:g} keypoints, expected {joints}'
    places = numbers(keypoints, (joints, 3))
    if places is None:
        return f'has keypoints that are not numbers (x, y, v): {str(keypoints)[:60]}'
    unknown = places[~np.isin(places[:, 2], (0, 1, 2)), 2]
    if len(unknown):
        return f'has a joint with v = {unknown[0]:g}; COCO knows 0 (not labelled), 1 (hidden) and 2 (visible)'
    labelled = places[places[:, 2] > 0, :2]
    if not len(labelled):
        return None
    if not ((labelled >= 0) & (labelled <= size)).all(axis=1).any():
        return f'has no labelled keypoint inside its frame of {size.tolist()}'
    return box_problem(person, size)


def box_problem(person: dict, size: Sequence[float] | np.ndarray) -> str | None:
    """What is wrong with the ``bbox`` of a person or a detection in a frame of this size (w, h); None if nothing is."""
    size = np.asarray(size)
    box = numbers(person.get('bbox'), (2, 2))
    if box is None:
        return f'has no box of four numbers (x, y, width, height): {person.get("bbox")!r}'
    corner, extent = box
    if not (extent > 0).all():
        return f'has a box without area: {person["bbox"]}'
    if (corner >= size).any() or (corner + extent <= 0).any():
        return f'has a box outside its frame of {size.tolist()}: {person["bbox"]}'
    if (extent > LARGEST * size).any():
        return f'has a box of more than {LARGEST} times its frame of {size.tolist()}: {person["bbox"]}'
    return None


def people_of(content: dict, path: str) -> list[dict]:
    """Annotations of the category of people; all of a file that lists no categories.

    Raises:
        DatasetError: As :func:`person_category`.
    """
    if not content.get('categories'):
        return content['annotations']
    person = person_category(content['categories'], path)['id']
    return [annotation for annotation in content['annotations'] if annotation.get('category_id', person) == person]


def person_category(categories: Sequence[dict], path: str) -> dict:
    """The category of people: the one of that name, else the only one, or the only one with joints.

    Raises:
        DatasetError: If it is not clear which; names the file.
    """
    named = [category for category in categories if str(category.get('name')).lower() == 'person']
    jointed = [category for category in categories if category.get('keypoints')]
    for found in (named, jointed, categories):
        if len(found) == 1 and 'id' in found[0]:
            return found[0]
    raise DatasetError(
        f"{path}: which category are people? None, or more than one, is called 'person': "
        f'{[category.get("name") for category in categories]}'
    )
