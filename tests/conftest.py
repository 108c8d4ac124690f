"""What the tests share: a tiny paired data set, and the way to the real one."""

import ctypes
import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.utils import register_all_modules

from exlpose_mm.engine.variables import VARIABLES
from exlpose_mm.joints import JOINTS

for variable in VARIABLES:  # which whoever runs the tests may have set for a config
    os.environ.pop(variable.upper(), None)
register_all_modules()
torch.set_num_threads(1)

TRIM = getattr(ctypes.CDLL(None), 'malloc_trim', None) if os.name == 'posix' else None
HEIGHT, WIDTH = 96, 128
# Gain of the bright name (dB) by level: two test images for each.
TEST_GAINS = {'LL-N': (4.50, 10.52), 'LL-H': (16.54, 22.56), 'LL-E': (26.08, 38.10)}
TRAIN_GAINS = (3.40, 12.62, 20.92, 28.18)
# (x, y) in the box: shoulders, elbows, wrists, hips, knees, ankles (left, right), head, neck.
STANDING = np.array(
    [
        [0.8, 0.25],
        [0.2, 0.25],
        [0.9, 0.4],
        [0.1, 0.4],
        [1.0, 0.55],
        [0.0, 0.55],
        [0.7, 0.55],
        [0.3, 0.55],
        [0.75, 0.77],
        [0.25, 0.77],
        [0.75, 1.0],
        [0.25, 1.0],
        [0.5, 0.0],
        [0.5, 0.2],
    ]
)


# What depends on the versions of torch, NumPy and OpenMMLab's packages: runs on every stack, by ``-m stack``.
STACK = (
    'bottomup',
    'checkpoints',
    'codecs',
    'configs',
    'cpn',
    'crops',
    'detection',
    'detection_configs',
    'detector',
    'distributed',
    'estimators',
    'examples',
    'fitting',
    'hooks',
    'inference',
    'lighting',
    'losses',
    'metrics',
    'mmcv_ops',
    'official_checkpoints',
    'onnx_export',
    'publishing',
    'recovery',
    'seeding',
    'tools',
    'versions',
    'visualization',
    'wrapped_names',
    'zoo',
)


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        if item.path.stem.removeprefix('test_') in STACK:
            item.add_marker('stack')


@pytest.fixture(autouse=True)
def trimmed_heap() -> Iterator[None]:
    """What a test has freed goes back to the system: KeepHeapHook would have the process keep it."""
    yield
    if TRIM:
        TRIM(0)


@pytest.fixture(autouse=True, scope='module')
def mmpose_scope() -> None:
    """Names in configs are MMPose's, whatever scope an earlier module left behind."""
    init_default_scope('mmpose')


@pytest.fixture(
    params=[
        'cpu',
        pytest.param(
            'cuda', marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')]
        ),
    ]
)
def device(request) -> str:
    """Each device that there is."""
    return request.param


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """Folder of the real data: ``$EXLPOSE_MM_DATA``, or ``shared/data`` beside the project."""
    default = Path(__file__).resolve().parents[2] / 'shared' / 'data'
    path = Path(os.environ.get('EXLPOSE_MM_DATA', default))
    if not path.is_dir():
        pytest.skip(f'no real data in {path}; set EXLPOSE_MM_DATA to its folder')
    return path


@pytest.fixture
def official_dir(data_dir) -> Path:
    """Folder of the official annotation files and two real low-light frames."""
    path = data_dir / 'exlpose_official'
    if not path.is_dir():
        pytest.skip(f'no {path}')
    return path


@pytest.fixture
def exlpose_root(tmp_path) -> Path:
    """A tiny ExLPose: four training pairs, six test pairs, one or two people in each."""
    return build_exlpose(tmp_path / 'ExLPose')


@pytest.fixture(scope='session')
def write_exlpose():
    """:func:`build_exlpose`, to write other layouts."""
    return build_exlpose


def build_exlpose(root: Path, annotations='Annotations', images='ExLPose') -> Path:
    """Write the tiny ExLPose into a folder layout; the same pixels and labels every time.

    In LL-H, LL-A and WL annotation 90 has no labelled joint but says it has 14, and annotation
    4 says it has 15. The left wrist of the first person of LL-N (and of the training files)
    is occluded (v = 1).
    """
    for folder in (root / annotations, root / images / 'bright', root / images / 'dark'):
        folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    train = [_write_pair(root / images, rng, 100 + i, g) for i, g in enumerate(TRAIN_GAINS)]
    test = {
        split: [_write_pair(root / images, rng, 2 * level + i, gain) for i, gain in enumerate(gains)]
        for level, (split, gains) in enumerate(TEST_GAINS.items())
    }
    everything = [scene for scenes in test.values() for scene in scenes]
    files = {
        'train_LL': (train, 'dark'),
        'train_WL': (train, 'bright'),
        'test_LL-A': (everything, 'dark'),
        'test_WL': (everything, 'bright'),
        **{f'test_{split}': (scenes, 'dark') for split, scenes in test.items()},
    }
    for name, (scenes, lighting) in files.items():
        content = coco_file([(i, f'{lighting}/{names[lighting]}', p) for i, names, p in scenes])
        (root / annotations / f'ExLPose_{name}.json').write_text(json.dumps(content), encoding='utf-8')
    return root


def pair_names(image_id: int, gain: float) -> dict:
    """Names of a pair in the release's pattern; the dark camera's gain is another one."""
    name = 'imgs_0212_place_vid{:06d}_exp400_{}_000052__gain_{:.2f}_exposure_1250.png'
    return dict(bright=name.format(image_id, 'bright', gain), dark=name.format(image_id, 'dark', max(gain - 21.58, 0)))


def fuses_on_a_cpu():
    try:
        return bool(torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], fused=True))
    except RuntimeError:
        return False


def coco_file(scenes) -> dict:
    """The content of an annotation file for ``(image id, file name, people)`` triples."""
    return dict(
        images=[dict(id=i, file_name=name, height=HEIGHT, width=WIDTH, crowdIndex=0) for i, name, _ in scenes],
        annotations=[person for *_, people in scenes for person in people],
        categories=[dict(id=1, name='person', supercategory='person', keypoints=list(JOINTS), skeleton=[])],
    )


def person_annotation(annotation_id: int, image_id: int, box, visibility=None, **kwargs) -> dict:
    """A standing person in a box (x, y, w, h) in pixels."""
    x, y, w, h = box
    v = np.full(14, 2) if visibility is None else np.asarray(visibility)
    places = (np.array([x, y]) + STANDING * np.array([w, h])) * (v > 0)[:, None]
    keypoints = np.column_stack([places.round(2), v]).ravel().tolist()
    return {
        **dict(
            id=annotation_id,
            image_id=image_id,
            category_id=1,
            iscrowd=0,
            keypoints=keypoints,
            bbox=[float(side) for side in box],
            num_keypoints=int((v > 0).sum()),
        ),
        **kwargs,
    }


def _write_pair(folder: Path, rng: np.random.Generator, image_id: int, gain: float):
    """Write two PNGs; return (image id, names, people)."""
    people = _people(image_id)
    bright = rng.integers(60, 90, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for person in people:
        for x, y, v in np.reshape(person['keypoints'], (-1, 3)):
            if v:
                cv2.circle(bright, (int(x), int(y)), 2, (220, 200, 180), -1)
    dark = rng.poisson(bright / 255 * 2).clip(0, 255).astype(np.uint8)
    names = pair_names(image_id, gain)
    for word, image in (('bright', bright), ('dark', dark)):
        if not cv2.imwrite(str(folder / word / names[word]), image):
            raise OSError(f'cannot write {names[word]}')
    return image_id, names, people


def _people(image_id: int) -> list:
    """Two people in an even image, one in an odd one; ids are 3 per two images."""
    first = image_id // 2 * 3 + image_id % 2 * 2
    shift = image_id % 5
    people = [person_annotation(first, image_id, (8 + shift, 10, 34, 74))]
    if image_id % 2 == 0:
        people.append(person_annotation(first + 1, image_id, (70, 14 + shift, 40, 72)))
    if image_id in (0, 100):
        people[0]['keypoints'][4 * 3 + 2] = 1
    if image_id == 2:
        people[1]['num_keypoints'] = 15
        people.append(person_annotation(90, image_id, (50, 40, 10, 20), np.zeros(14), num_keypoints=14))
    return people
