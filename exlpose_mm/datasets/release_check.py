"""Checks an unpacked ExLPose before a training run meets what is wrong with it."""

import os.path as osp
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from mmengine.utils import ProgressBar

from exlpose_mm.datasets.exlpose import ExLPoseDataset
from exlpose_mm.datasets.files import DatasetError, ImageFinder, MissingFileError, find_annotation, shared_partners
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.datasets.transforms.loading import ImageError, load_image


@dataclass(frozen=True)
class Known:
    """What is published of an annotation file: images, and people with and without joints."""

    ann_file: str
    images: int
    people: int | None = None


RELEASE = (
    Known('ExLPose_train_LL.json', 2065),
    Known('ExLPose_test_LL-N.json', 167, 1028),
    Known('ExLPose_test_LL-H.json', 169, 945),
    Known('ExLPose_test_LL-E.json', 155, 837),
    Known('ExLPose_test_WL.json', 491, 2810),
)


@dataclass
class Report:
    """What was found of an annotation file.

    Args:
        known (Known): What ought to be there.
        images, people (int): What is there.
        problems (list[str]): One line for each.
    """

    known: Known
    images: int = 0
    people: int = 0
    problems: list[str] = field(default_factory=list)

    def row(self) -> str:
        """A line of the summary."""

        def count(found: int, known: int | None) -> str:
            return f'{found}' if known in (None, found) else f'{found} (not {known})'

        return (
            f'{self.known.ann_file:<24}{count(self.images, self.known.images):>16}'
            f'{count(self.people, self.known.people):>20}{len(self.problems):>10}'
        )


HEADER = f'{"":<24}{"images":>16}{"people":>20}{"problems":>10}'


def check_release(
    root: str,
    workers: int = 4,
    release: tuple[Known, ...] = RELEASE,
    progress: Callable[[int], ProgressBar | None] = lambda count: None,
) -> list[Report]:
    """Look at every annotation, partner and pixel of a data set on disk.

    Counted are images and people; looked for are images without a partner, with several, or
    with one of another size or darker than themselves; images of another size than annotated, unreadable
    and black ones; boxes without area or outside the frame; labelled joints outside the frame; and
    annotations of another schema.

    Args:
        root (str): Folder of the data set, in any of its layouts.
        workers (int): Threads that decode.
        release (tuple[Known]): What ought to be there.
        progress (callable): Called with the number of pairs to read; what it returns, if not
            None, is told of each by its ``update``.

    Returns:
        list[Report]: One for each annotation file.
    """
    reports, tasks = [], []
    for known in release:
        report = Report(known)
        reports.append(report)
        try:
            tasks += [(report, *task) for task in _tasks(root, report)]
        except (DatasetError, OSError, ValueError, KeyError, TypeError) as error:
            report.problems.append(
                str(error)
                if isinstance(error, DatasetError)
                else f'{known.ann_file} is no COCO annotation file: {error!r}'
            )
    bar = progress(len(tasks))
    with ThreadPoolExecutor(workers) as pool:
        for (report, *_), problems in zip(tasks, pool.map(lambda task: _look(*task[1:]), tasks)):
            report.problems += problems
            if bar is not None:
                bar.update()
    return reports


def complete(reports: list[Report]) -> bool:
    """Whether every count is as published and nothing is wrong."""
    return not any(r.problems or r.images != r.known.images or r.known.people not in (None, r.people) for r in reports)


def _tasks(root: str, report: Report) -> list[tuple[str, str, tuple, list[dict]]]:
    """The pairs of an annotation file, their annotated size (w, h), and their people."""
    path = find_annotation(root, report.known.ann_file)
    dataset = ExLPoseDataset('low_light', path, root, lazy_init=True)
    finder = ImageFinder(dataset._image_bases(), dataset._find_pair_file())
    content = read_annotations(path)
    people: dict[int, list[dict]] = {}
    report.images, report.people = len(content['images']), len(content['annotations'])
    for person in content['annotations']:
        people.setdefault(person['image_id'], []).append(person)
    tasks, pairs = [], []
    for image in content['images']:
        try:
            low_light = finder.find(image['file_name'], 'low_light')
            well_lit = finder.partner(low_light, 'well_lit')
        except DatasetError as error:
            report.problems.append(_short(error))
        else:
            pairs.append(dict(img_path=low_light, well_lit_path=well_lit))
            size = image.get('width'), image.get('height')
            tasks.append((low_light, well_lit, size, people.pop(image['id'], [])))
    report.problems += map(str, shared_partners(pairs))
    known = {image['id'] for image in content['images']}
    report.problems += [f'{path}: people of the unknown image {i}' for i in people if i not in known]
    return tasks


def _look(low_light: str, well_lit: str, annotated: tuple, people: list[dict]) -> list[str]:
    """What is wrong with a pair and its people."""
    sizes: dict[str, tuple[int, int]] = {}
    means: dict[str, float] = {}
    problems = []
    for path in (low_light, well_lit):
        try:
            image = load_image(path)
            sizes[path], means[path] = image.shape[1::-1], image.mean()
            problems += [f'{path} is black'] if not image.any() else []
        except ImageError as error:
            problems.append(_short(error))
    if len(set(sizes.values())) > 1:
        problems.append(
            'the images of a pair differ in size (w, h): ' + ', '.join(f'{path} {size}' for path, size in sizes.items())
        )
    if len(means) > 1 and means[low_light] > means[well_lit]:
        problems.append(
            f'the images of a pair seem to be exchanged: {low_light} is brighter (mean '
            f'{means[low_light]:.1f}) than {well_lit} ({means[well_lit]:.1f})'
        )
    problems += [
        '{} is {} x {} pixels, annotated as {} x {}'.format(path, *size, *annotated)
        for path, size in list(sizes.items())[:1]
        if size != annotated and annotated != (None, None)  # a list of people does not tell
    ]
    for size in list(sizes.values())[:1]:
        problems += [
            f'{osp.basename(low_light)}: person {p.get("id")}: {what}'
            for p in people
            for what in _wrong_with(p, np.array(size))
        ]
    return problems


def _wrong_with(person: dict, size: np.ndarray) -> list[str]:
    try:
        corner, extent = np.reshape(person['bbox'], (2, 2)).astype(float)
        joints = np.reshape(person['keypoints'], (14, 3)).astype(float)
    except (KeyError, ValueError, TypeError) as error:
        return [f'no box (x, y, w, h) and 14 joints (x, y, v): {error!r}']
    wrong = []
    if not (extent > 0).all():
        wrong.append(f'box without area {person["bbox"]}')
    elif (corner < -1).any() or (corner + extent > size + 1).any():
        wrong.append(f'box {person["bbox"]} leaves the frame of {size.tolist()}')
    seen = joints[joints[:, 2] > 0, :2]
    outside = int(((seen < -1) | (seen > size + 1)).any(axis=1).sum())
    if outside:
        wrong.append(f'{outside} labelled joints outside the frame of {size.tolist()}')
    return wrong


def _short(error: Exception) -> str:
    text = ' '.join(str(error).split())
    return text if isinstance(error, MissingFileError) else text[:300]
