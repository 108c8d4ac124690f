"""Making a paired low-light data set, in ExLPose's layout, of any COCO-style keypoint data set.

Every file is written whole or not at all, and a pair that is there is not made again, so that an
interrupted run goes on where it stopped. A pair's pixels depend on the image, its id, the level
and the seed only.
"""

import hashlib
import json
import math
import multiprocessing
import os
import os.path as osp
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import MMLogger
from mmengine.utils import ProgressBar

from exlpose_mm.camera.simulation import LEVELS, PRESETS, camera_of
from exlpose_mm.datasets.annotations import person_category, person_problem
from exlpose_mm.datasets.exlpose import PAIR_FILE
from exlpose_mm.datasets.files import check_tiff, image_size, path_parts
from exlpose_mm.datasets.making.layout import (
    IMAGES,
    SIDES,
    SPLITS,
    make_folders,
    write_annotations,
    write_file,
    write_image,
)
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.datasets.transforms.darkening import SimulateLowLight
from exlpose_mm.datasets.transforms.loading import load_image
from exlpose_mm.joints import JOINTS

VERSION = 1  # raise it when the same settings no longer give the same pixels
FRAME = (1919, 1198)
"""Width and height of ExLPose's images."""
Level = str | tuple[float, float]


class PairMakingError(ValueError):
    """The annotation file, the settings or the folder do not allow a paired data set."""


@dataclass(frozen=True)
class Settings:
    """What the pixels and labels of one split depend on.

    Args:
        ann_file (str): COCO-style keypoint annotations.
        image_dir (str): Folder that their ``file_name`` are relative to.
        split (str): ``'train'`` or ``'test'``.
        levels (Sequence): Levels of :class:`~exlpose_mm.datasets.transforms.darkening.SimulateLowLight`, which
            take turns in the order of the image ids.
        seed (int): Seed of the noise, not negative.
        person_height (float, optional): Resize each image so that its people's median box has
            this height in pixels, but enlarge none beyond the area of :data:`FRAME`. How much
            noise a network sees depends on how many sensor pixels a person covers: the median
            of ExLPose's test sets is 349. Defaults to None: images keep their size.
    """

    ann_file: str
    image_dir: str
    split: str = 'train'
    levels: Sequence[Level] = ('hard',)
    seed: int = 0
    person_height: float | None = None

    def manifest(self) -> dict:
        """What must be equal for two runs to share a folder."""
        digest = hashlib.sha256(Path(self.ann_file).read_bytes()).hexdigest()
        cameras = [asdict(camera_of(level)) for level in self.levels if level in (*LEVELS, *PRESETS)]
        settings = dict(
            split=self.split, levels=self.levels, seed=self.seed, cameras=cameras, person_height=self.person_height
        )
        return json.loads(json.dumps(dict(version=VERSION, annotations=digest, **settings)))


def make_pairs(
    settings: Settings, root: str, workers: int = 0, progress: Callable[[int], ProgressBar] | None = None
) -> tuple[int, list[str]]:
    """Write a split's pairs, annotation files and ``brightPath2darkPath.txt``.

    Args:
        settings (Settings): What to make.
        root (str): Folder of the data set, to be ``data_root`` of
            :class:`~exlpose_mm.datasets.exlpose.ExLPoseDataset`. Another split may be there.
        workers (int): Further processes; 0 works in this one. They do not change the result.
        progress (Callable, optional): Takes the number of images and returns an object whose
            ``update()`` is called after each, such as mmengine's ``ProgressBar``.

    Returns:
        tuple[int, list[str]]: The number of pairs, and one line for each image that has none
        because it is missing, unreadable, of another size than annotated, or could not be
        written. These lines are also in ``<root>/pairs_<split>.log``.

    Raises:
        PairMakingError: If the annotation file is none, has no people or other joints, a setting
            is wrong, ``root`` holds this split made with other settings or anything else, or a
            worker process died.
        DatasetError: If the annotation file is no JSON, an entry of a list of people is not as it ought to be or has no
            readable image, or it is not clear which category are people.
    """
    folder = Path(root)
    tasks = plan(settings)
    _claim(folder, settings)
    bar = progress and progress(len(tasks))
    pairs, problems = [], []
    for task, problem in zip(tasks, _run(tasks, settings, folder, workers)):
        if bar:
            bar.update()
        if problem:
            problems.append(f'{task["source"]}: {problem}')
        else:
            pairs.append(task)
    description = f'Simulated low light of {osp.basename(settings.ann_file)}'
    write_annotations(folder, settings.split, pairs, description)
    _write_pair_file(folder)
    log = ''.join(f'{line}\n' for line in problems)
    write_file(folder / f'pairs_{settings.split}.log', log.encode())
    return len(pairs), problems


def plan(settings: Settings) -> list[dict]:
    """One pair of :mod:`exlpose_mm.datasets.making.layout` per image, in the order of ids, with its ``source``.

    Raises:
        PairMakingError: As :func:`make_pairs`.
    """
    height = settings.person_height
    if (
        settings.split not in SPLITS
        or not settings.levels
        or settings.seed < 0
        or (height is not None and not 0 < height < math.inf)
    ):
        raise PairMakingError(
            f'split is one of {SPLITS}, levels are at least one, the seed is not negative '
            f'and person_height is positive; got {settings}'
        )
    for level in settings.levels:
        SimulateLowLight(level)
    content = _load(settings.ann_file, settings.image_dir)
    people = _people(content, settings.ann_file)
    images = sorted((image for image in content['images'] if image['id'] in people), key=lambda image: image['id'])
    if not images:
        raise PairMakingError(f'{settings.ann_file}: no image has an annotated person with keypoints')
    return [
        dict(
            _resize((image['width'], image['height']), people[image['id']], settings.person_height),
            id=image['id'],
            source=image['file_name'],
            names=_names(settings.split, image['id']),
            level=settings.levels[i % len(settings.levels)],
        )
        for i, image in enumerate(images)
    ]


def _resize(size: tuple[int, int], people: list[dict], person_height: float | None) -> dict:
    """Annotated and wanted size (w, h), and the people's labels in the latter's pixels."""
    heights = [person['bbox'][3] for person in people if person['bbox'][3] > 0]
    if person_height is None or not heights:
        return dict(source_size=size, size=size, people=people)
    largest = max(1.0, math.sqrt(math.prod(FRAME) / math.prod(size)))
    factor = min(person_height / np.median(heights), largest)
    wanted = tuple(max(1, round(side * factor)) for side in size)
    scale = np.divide(wanted, size)
    return dict(source_size=size, size=wanted, people=[_scaled(person, scale) for person in people])


def _scaled(person: dict, scale: np.ndarray) -> dict:
    """A person in an image resized by (x, y) factors; joints are at pixels, boxes at their edges."""
    keypoints = np.float64(person['keypoints'])
    labelled = keypoints[:, 2] > 0
    keypoints[labelled, :2] = (keypoints[labelled, :2] + 0.5) * scale - 0.5
    bbox = np.float64(person['bbox']) * np.tile(scale, 2)
    return dict(person, keypoints=keypoints.tolist(), bbox=bbox.tolist())


def _people(content: dict, ann_file: str) -> dict[int, list[dict]]:
    """The people of each image id whom our data sets can use; logs what is left out."""
    category = person_category(content['categories'], ann_file)
    joints = joint_sources([category], ann_file)
    images = {image['id']: image for image in content['images']}
    people: dict[int, list] = {}
    left_out: dict[str, list] = {}
    for annotation in content['annotations']:
        kind, person = _kind(annotation, category), None
        if not kind:
            person = _person(annotation, joints, ann_file)
            problem = _problem(person, annotation, images)
            kind = 'that a data set would refuse' if problem else ''
        if kind:
            detail = f' {problem}' if person else ''
            left_out.setdefault(kind, []).append(f'{annotation.get("id")}{detail}')
        else:
            people.setdefault(annotation['image_id'], []).append(person)
    if left_out:
        MMLogger.get_current_instance().warning(
            f'{ann_file}: left out are '
            + '; '.join(
                f'{len(found)} annotations {kind} (the first is {found[0]})' for kind, found in left_out.items()
            )
        )
    return people


def _kind(annotation: dict, category: dict) -> str:
    """What an annotation is instead of a person with joints; empty if it is one."""
    if annotation.get('category_id', category['id']) != category['id']:
        return f'of another category than {category.get("name")!r}'
    if annotation.get('iscrowd'):
        return 'of crowds'
    return '' if annotation.get('keypoints') else 'without keypoints'


def _problem(person: dict, annotation: dict, images: dict[int, dict]) -> str | None:
    flat = dict(annotation, keypoints=np.ravel(person['keypoints']).tolist())
    image = images.get(annotation['image_id'])
    return person_problem(flat, image, len(JOINTS)) or person_problem(
        flat, image, len(JOINTS), unlabelled=True
    )  # looks at every box


def _names(split: str, image_id: int) -> dict[str, str]:
    return {side: f'{side}/{split}_{image_id:012d}_{side}.png' for side in SIDES}


def _load(ann_file: str, image_dir: str) -> dict:
    try:
        content = read_annotations(ann_file, lambda name: image_size(osp.join(image_dir, *path_parts(name))))
        ids = [image['id'] for image in content['images']]
        sizes = [(image['width'], image['height'], image['file_name']) for image in content['images']]
        if not all(isinstance(i, int) for i in ids) or len(set(ids)) != len(ids):
            raise PairMakingError(f'{ann_file}: image ids must be different integers')
        if not content['annotations'] or not content['categories'] or not sizes:
            raise PairMakingError(f'{ann_file} has no images, no annotations or no categories')
    except (OSError, TypeError, KeyError) as error:
        raise PairMakingError(f'{ann_file} is no COCO annotation file: {error!r}') from error
    return content


def joint_sources(categories: Sequence[dict], ann_file: str) -> list[tuple[int, ...] | None]:
    """Where each of ExLPose's 14 joints comes from: joints to average, or None.

    Joints are found by their names. COCO has no neck, which becomes the middle of the
    shoulders, and no top of the head, which stays unlabelled: nose, eyes and ears do not tell
    where it is. 14 joints without names are taken as they are.

    Raises:
        PairMakingError: If a shoulder, elbow, wrist, hip, knee or ankle is missing.
    """
    names = [name.lower() for name in categories[0].get('keypoints', ())]
    if not names:
        return [(i,) for i in range(len(JOINTS))]
    aliases = dict(head=('head', 'head_top', 'top_head'), neck=('neck',))
    found: list[tuple[int, ...] | None] = []
    for joint in JOINTS:
        known = [names.index(name) for name in aliases.get(joint, (joint,)) if name in names]
        index = known[0] if known else None
        if index is None and joint not in aliases:
            raise PairMakingError(f'{ann_file}: its joints {names} have no {joint!r}')
        found.append(None if index is None else (index,))
    if found[JOINTS.index('neck')] is None:
        found[JOINTS.index('neck')] = names.index('left_shoulder'), names.index('right_shoulder')
    return found


def _person(annotation: dict, joints: Sequence[tuple[int, ...] | None], ann_file: str) -> dict:
    needed = 3 * max(sources[-1] + 1 for sources in joints if sources)
    if len(annotation['keypoints']) % 3 or len(annotation['keypoints']) < needed:
        raise PairMakingError(
            f'{ann_file}: annotation {annotation.get("id")} has '
            f'{len(annotation["keypoints"]) / 3:g} keypoints, too few for its joints'
        )
    labels = np.float64(annotation['keypoints']).reshape(-1, 3)
    return dict(keypoints=[_joint(labels, sources) for sources in joints], bbox=annotation.get('bbox'))


def _joint(labels: np.ndarray, sources: tuple[int, ...] | None) -> list[float]:
    """Mean position, and the least visibility: a mean of what is not labelled is not labelled."""
    if sources is None or not labels[list(sources), 2].all():
        return [0.0, 0.0, 0]
    x, y, _ = labels[list(sources)].mean(axis=0)
    return [float(x), float(y), int(labels[list(sources), 2].min())]


def _claim(folder: Path, settings: Settings) -> None:
    """Make the folders; refuse a folder that holds this split made otherwise."""
    path, wanted = folder / f'pairs_{settings.split}.json', settings.manifest()
    if path.exists():
        found = json.loads(path.read_text(encoding='utf-8'))
        if found != wanted:
            changed = [key for key in wanted if found.get(key) != wanted[key]]
            raise PairMakingError(
                f'{path}: this split was made with other settings '
                f'({", ".join(changed)}); name another folder or delete this one'
            )
        for part in folder.rglob('.*.part'):  # of a run that was killed
            part.unlink()
        return
    if folder.exists() and any(folder.iterdir()) and not any(folder.glob('pairs_*.json')):
        raise PairMakingError(f'{folder} holds something else, which could be overwritten; name a new folder')
    make_folders(folder)
    write_file(path, json.dumps(wanted).encode())


def _write_pair_file(folder: Path) -> None:
    bright, dark = (
        {
            path.name.replace(f'_{side}.png', ''): f'{side}/{path.name}'
            for path in (folder / IMAGES / side).glob('*.png')
        }
        for side in SIDES
    )
    lines = [f'{bright[key]} {dark[key]}\n' for key in sorted(bright.keys() & dark.keys())]
    write_file(folder / PAIR_FILE, ''.join(lines).encode())


def _run(tasks: list[dict], settings: Settings, folder: Path, workers: int) -> Iterator[str | None]:
    if workers == 0:
        yield from (_make_pair(task, settings, folder) for task in tasks)
        return
    with ProcessPoolExecutor(workers, initializer=_start_worker) as pool:
        try:
            yield from pool.map(partial(_make_pair, settings=settings, folder=folder), tasks)
        except BrokenProcessPool as error:
            raise PairMakingError(
                'a worker process died, perhaps for want of memory: run this again with '
                'fewer workers, it goes on from here'
            ) from error


def _start_worker() -> None:
    """One core a worker, and no worker outlives its parent."""
    cv2.setNumThreads(0)  # 1 would tear down the parent's thread pool, which may hang in a fork
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make_pair(task: dict, settings: Settings, folder: Path) -> str | None:
    """Write one pair, the dark image last; return what is wrong, if anything."""
    try:
        bright, dark = (folder / IMAGES / task['names'][side] for side in SIDES)
        path = osp.join(settings.image_dir, *path_parts(task['source']))
        if bright.exists() and dark.exists():
            return None
        image = load_image(path)
        check_tiff(path)
        if image.shape[1::-1] != tuple(task['source_size']):
            return 'is {} x {} pixels, annotated as {} x {}'.format(*image.shape[1::-1], *task['source_size'])
        if task['size'] != task['source_size']:
            shrinks = task['size'] < task['source_size']
            image = cv2.resize(image, task['size'], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
        write_image(bright, image)
        write_image(dark, _darken(image, task, settings.seed))
    except (OSError, ValueError) as error:
        return ' '.join(str(error).split())
    return None


def _darken(image: np.ndarray, task: dict, seed: int) -> np.ndarray:
    np.random.seed([seed, task['id'] % 2**32])  # a range of darkness draws from the global state
    simulate = SimulateLowLight(task['level'], paired=False, seed=seed)
    return simulate.transform(dict(img=image, img_id=task['id']))['img']
