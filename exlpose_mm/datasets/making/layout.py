"""Writing a paired data set in ExLPose's folder layout.

Images go to ``ExLPose/{bright,dark}``, labels to ``Annotations``. A pair is a dict of ``id``,
``level``, ``names`` ({'bright': name, 'dark': name}, relative to ``ExLPose``), ``size`` (w, h) and
``people``, dicts of ``keypoints`` (14, 3) and ``bbox`` (x, y, w, h), in pixels.
"""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from exlpose_mm.joints import JOINTS, LINKS
from exlpose_mm.splits import ALL_LOW_LIGHT, LOW_LIGHT_TRAINING, ROW_OF_LEVEL, WELL_LIT
from exlpose_mm.writing import write_file

SPLITS = ('train', 'test')
IMAGES, ANNOTATIONS = 'ExLPose', 'Annotations'
SIDES = ('bright', 'dark')


def make_folders(root: Path) -> None:
    """Make the folders of the layout."""
    for folder in (*(root / IMAGES / side for side in SIDES), root / ANNOTATIONS):
        folder.mkdir(parents=True, exist_ok=True)


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W, 3) uint8 BGR as a PNG, quickly; see :func:`write_file`."""
    fast = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
    write_file(path, cv2.imencode('.png', image, fast)[1].tobytes())


def coco(pairs: Sequence[dict], side: str, description: str) -> dict:
    """The annotations of one side, ``'bright'`` or ``'dark'``, of some pairs in COCO's format."""
    images, annotations = [], []
    for pair in pairs:
        width, height = pair['size']
        images.append(dict(file_name=pair['names'][side], id=pair['id'], height=height, width=width, crowdIndex=0))
        for person in pair['people']:
            keypoints = np.asarray(person['keypoints'])
            annotations.append(
                dict(
                    num_keypoints=int((keypoints[:, 2] > 0).sum()),
                    iscrowd=0,
                    keypoints=keypoints.ravel().tolist(),
                    image_id=pair['id'],
                    bbox=list(person['bbox']),
                    category_id=1,
                    id=person['id'],
                )
            )
    category = dict(supercategory='person', id=1, name='person', keypoints=JOINTS, skeleton=LINKS)
    return dict(info=dict(description=description), categories=[category], images=images, annotations=annotations)


def write_annotations(root: Path, split: str, pairs: list[dict], description: str) -> None:
    """Write ``ExLPose_<split>_<set>.json`` of WL, of LL (train) or LL-A (test), and of each level."""
    number = count(1)
    pairs = [dict(pair, people=[dict(person, id=next(number)) for person in pair['people']]) for pair in pairs]
    sets = {WELL_LIT: ('bright', pairs), ALL_LOW_LIGHT if split == 'test' else LOW_LIGHT_TRAINING: ('dark', pairs)}
    if split == 'test':
        for level in dict.fromkeys(pair['level'] for pair in pairs):
            if level in ROW_OF_LEVEL:
                sets[ROW_OF_LEVEL[level]] = 'dark', [pair for pair in pairs if pair['level'] == level]
    for name, (side, chosen) in sets.items():
        content = json.dumps(coco(chosen, side, description))
        write_file(root / ANNOTATIONS / f'ExLPose_{split}_{name}.json', content.encode())
