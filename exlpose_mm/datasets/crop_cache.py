"""A store of what training reads of its frames: every person's region instead of two whole images.

One LMDB file holds, for each person, the pixels of both lightings that the data set's pipeline can
read, and the sums of the others, so that means over the whole frame stay what they are.
"""

from __future__ import annotations

import json
import os
import os.path as osp
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.utils import ProgressBar
from mmpose.datasets.datasets import BaseCocoStyleDataset
from mmpose.datasets.transforms import GetBBoxCenterScale, LoadImage, RandomBBoxTransform, RandomFlip, TopdownAffine
from torch.utils.data import DataLoader, Dataset

from exlpose_mm.compat.extras import Extra
from exlpose_mm.compat.orphans import end_with_parent
from exlpose_mm.datasets.files import DatasetError
from exlpose_mm.datasets.transforms.crops import CPNCrop
from exlpose_mm.datasets.transforms.lighting import AddMomentumView, OnLighting, TagLighting
from exlpose_mm.datasets.transforms.loading import load_image
from exlpose_mm.datasets.transforms.photometry import (
    AntiAlias,
    ScaleToMean,
    affine_box,
    affine_reach,
    channel_sums,
    cut_at_frame,
)
from exlpose_mm.lighting import LIGHTINGS

lmdb = Extra('lmdb', 'cache')
Environment = Any  # lmdb's, which may not be installed
Transaction = Any

CROPS = (TopdownAffine, CPNCrop)
PATHS = ('img_path', 'well_lit_path')
SMALLEST = 2**28
"""Size of a new file, in bytes of address space; it doubles when it is full."""


class CropCacheError(DatasetError):
    """A crop cache is missing, incomplete, of other files, or too small for the pipeline."""


class CropCache:
    """Reads people's regions from a file that :func:`build` wrote.

    It may be used in several processes, forked or spawned; each opens the file for itself.

    Args:
        path (str): The file.
        data_root (str): People are named by their images' paths from here.

    Raises:
        CropCacheError: If there is no such file.
    """

    def __init__(self, path: str, data_root: str) -> None:
        if not osp.isfile(path):
            raise CropCacheError(f'no crop cache {path!r}; tools/cache_crops.py makes it')
        self.path, self.data_root = path, data_root

    def check(self, people: Iterable[dict], transforms: Sequence[BaseTransform]) -> None:
        """See that everything these people need is there and up to date.

        Args:
            people (iterable[dict]): The data set's.
            transforms (sequence[BaseTransform]): Its pipeline.

        Raises:
            CropCacheError: If a person is missing, an image has changed since, or the pipeline
                reads more than was kept.
        """
        with _reader(self.path).begin() as txn:
            for person in people:
                problem = _problem(_read_note(txn, self._key(person)), person, transforms)
                if problem:
                    raise CropCacheError(
                        f'{self.path}: {problem} ({person["img_path"]}, box '
                        f'{person["bbox"][0].tolist()}); run tools/cache_crops.py again'
                    )

    def load(self, person: dict) -> dict:
        """Frames of the original size, zero outside the region.

        Returns:
            dict: ``img``, a (H, W, 3) uint8 array, or a list of two for a pair; ``lost_sums``, lighting
            to the sums (3, ) of the pixels that became zero.
        """
        key = self._key(person)
        with _reader(self.path).begin(buffers=True) as txn:
            note = _read_note(txn, key)
            if note is None:
                raise CropCacheError(f'{self.path} has no crop of {person["img_path"]}')
            (left, top), (right, bottom) = note['region']
            region = np.s_[top:bottom, left:right]
            crops = np.frombuffer(txn.get(b'crops ' + key), np.uint8)
            crops = crops.reshape(-1, bottom - top, right - left, 3)
            frames = [np.zeros((*note['shape'], 3), np.uint8) for _ in crops]
            for frame, crop in zip(frames, crops):
                frame[region] = crop
        return dict(img=frames if 'well_lit_path' in person else frames[0], lost_sums=note['lost_sums'])

    def _key(self, person: dict) -> bytes:
        return _key(person, self.data_root)


@cache
def _reader(path: str) -> Environment:
    """One in a process, as LMDB wants it."""
    try:
        return lmdb.open(path, subdir=False, readonly=True, lock=False)
    except lmdb.Error as error:
        raise CropCacheError(
            f'{path} is no crop cache, or a damaged one: {error}; delete it and run tools/cache_crops.py'
        ) from error


# Nor does it want one from before a fork.
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(before=_reader.cache_clear)


def build(
    dataset: BaseCocoStyleDataset,
    path: str,
    workers: int = 0,
    progress: Callable[[int], ProgressBar | None] = lambda count: None,
) -> tuple[int, list[str]]:
    """Write every person of a data set, except those that are there already and up to date.

    What was written stays when the process is killed, and the next call goes on.

    Args:
        dataset (ExLPoseDataset): Without a crop cache; its pipeline begins with loading.
        path (str): The file; need not exist.
        workers (int): Processes that decode; 0 is none beside this one.
        progress (callable): Called with the number of images to read; what it returns, if
            not None, is told of each by its ``update``.

    Returns:
        tuple[int, list[str]]: How many people were written, and what was wrong with which images.

    Raises:
        CropCacheError: If the pipeline does not begin with loading or nothing in it crops, or
            the file cannot be written.
    """
    if not hasattr(dataset, 'crop_cache'):
        raise CropCacheError(f'only an ExLPoseDataset can use a crop cache, this is a {type(dataset).__name__}')
    transforms = dataset.pipeline.transforms
    if not transforms or not isinstance(transforms[0], LoadImage):
        raise CropCacheError('a crop cache needs a pipeline that begins with LoadPairedImages or LoadLabelledImage')
    people = [dataset.get_data_info(i) for i in range(len(dataset))]
    for person in people[:1]:
        reach(transforms, person)  # so that what is wrong with the pipeline is said here, not by a worker
    try:
        os.makedirs(osp.dirname(osp.abspath(path)), exist_ok=True)
        _reader.cache_clear()
        with lmdb.open(path, subdir=False, map_size=SMALLEST) as env:
            with env.begin() as txn:
                missing = [
                    person
                    for person in people
                    if _problem(_read_note(txn, _key(person, dataset.data_root)), person, transforms)
                ]
            frames = _Frames(missing, transforms, dataset.data_root)
            bar, made, problems = progress(len(frames)), 0, []
            end_with_parent()
            for entries, problem in DataLoader(frames, batch_size=None, num_workers=workers, collate_fn=_same):
                _write(env, entries)
                made += len(entries) // 2
                problems += [problem] * bool(problem)
                if bar is not None:
                    bar.update()
    except (lmdb.Error, OSError) as error:
        raise CropCacheError(f'cannot write the crop cache {path}: {error}') from error
    return made, problems


def verify(dataset: BaseCocoStyleDataset, path: str, samples: int = 32) -> int:
    """Compare training samples with and without the cache, drawn with the same random numbers.

    Returns:
        int: How many were compared.

    Raises:
        CropCacheError: If a pixel differs: then a step of the pipeline reads outside the region.
    """
    cache = CropCache(path, dataset.data_root)
    indices = np.unique(np.linspace(0, len(dataset) - 1, samples).astype(int))
    for index in indices:
        person = dataset.get_data_info(index)
        whole, cached = (
            _seeded(dataset.pipeline, {**dataset.get_data_info(index), **more}, index)
            for more in ({}, cache.load(person))
        )
        if not _equal(whole['inputs'], cached['inputs']):
            raise CropCacheError(
                f'{path}: a training sample of {person["img_path"]} differs from one of the whole '
                "frame: a step of the pipeline reads more than the person's region, or changes "
                'the image before it is cropped; mend its method `reach` or do without a cache'
            )
    return len(indices)


HARMLESS = (
    LoadImage,
    RandomFlip,
    GetBBoxCenterScale,
    RandomBBoxTransform,
    AddMomentumView,
    TagLighting,
    ScaleToMean,
    AntiAlias,
)
"""Steps before the crop that read no more of a frame than the crop does, or take ``lost_sums`` into account."""


def reach(transforms: Sequence[BaseTransform], person: dict) -> np.ndarray:
    """Corners ((x0, y0), (x1, y1)) of what a pipeline can read of a person's frame, at most.

    Steps may say so by a method ``reach`` that takes the sample; what comes after the crop does
    not matter.

    Raises:
        CropCacheError: If no step crops, or one before the crop may read the whole frame.
    """
    corners, draws = [], RandomBBoxTransform(shift_prob=0, scale_prob=0, rotate_prob=0)
    for step in _flat(transforms):
        if hasattr(step, 'reach'):
            corners.append(step.reach(person))
        elif isinstance(step, TopdownAffine):
            corners.append(_affine_reach(person, step, draws))
        elif isinstance(step, GetBBoxCenterScale):
            person = step.transform(dict(person))
        elif isinstance(step, RandomBBoxTransform):
            draws = step
        elif not isinstance(step, HARMLESS):
            raise CropCacheError(
                f'{type(step).__name__} stands before the crop and may read the whole frame: do without '
                'a crop cache, or give it a method `reach`'
            )
        if isinstance(step, CROPS):
            low, high = zip(*corners)
            return np.array([np.min(low, axis=0), np.max(high, axis=0)])
    raise CropCacheError('a crop cache needs a pipeline with a TopdownAffine or CPNCrop')


def _affine_reach(person: dict, crop: TopdownAffine, draws: RandomBBoxTransform) -> np.ndarray:
    factor = max([*draws.scale_factor] * (draws.scale_prob > 0) + [1.0] * (draws.scale_prob < 1))
    turn = np.deg2rad(draws.rotate_factor) if draws.rotate_prob > 0 else 0.0
    shift = person['bbox_scale'][0] * draws.shift_factor * (draws.shift_prob > 0)
    largest = {**person, 'bbox_scale': person['bbox_scale'] * np.float32(factor)}
    width, height = affine_box(largest, crop)
    # The upright extent is largest where the diagonal lies along an axis.
    turns = np.minimum(turn, np.arctan2([height, width], [width, height]))
    return affine_reach(largest, crop, turns) + np.floor([-shift, shift + 1]).astype(int)


class _Frames(Dataset):
    """For each image of some people: what to write of them, and what was wrong."""

    def __init__(self, people: list[dict], transforms: Sequence[BaseTransform], data_root: str) -> None:
        images: dict[str, list[dict]] = {}
        for person in people:
            images.setdefault(person['img_path'], []).append(person)
        self.images, self.transforms, self.data_root = list(images.values()), transforms, data_root

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[list[tuple[bytes, bytes]], str]:
        cv2.setNumThreads(0)
        people = self.images[index]
        try:
            files = _stamps(people[0])
            # What it raises for a single image, it raises in many types.
            loaded = load_image(people[0]['img_path'], lambda _: self.transforms[0].transform(dict(people[0])))
        except (ValueError, OSError) as error:
            return [], ' '.join(str(error).split())
        images = loaded if isinstance(loaded, list) else [loaded]
        return [entry for person in people for entry in self._entries(person, images, files)], ''

    def _entries(self, person: dict, images: list[np.ndarray], files: list) -> Iterator[tuple[bytes, bytes]]:
        needed = reach(self.transforms, person)
        rows, columns = cut_at_frame(needed, images[0])
        crops = np.stack([image[rows, columns] for image in images])
        names = LIGHTINGS if 'well_lit_path' in person else [person['lighting']]
        sums = {
            name: (channel_sums(image) - channel_sums(crop)).tolist() for name, image, crop in zip(names, images, crops)
        }
        note = dict(
            region=[[columns.start, rows.start], [columns.stop, rows.stop]],
            reach=needed.tolist(),
            shape=images[0].shape[:2],
            files=files,
            lost_sums=sums,
        )
        key = _key(person, self.data_root)
        yield b'crops ' + key, crops.tobytes()
        yield b'note ' + key, json.dumps(note).encode()


def _write(env: Environment, entries: list[tuple[bytes, bytes]]) -> None:
    while entries:
        try:
            with env.begin(write=True) as txn:
                for key, value in entries:
                    txn.put(key, value)
            return
        except lmdb.MapFullError:
            env.set_mapsize(2 * env.info()['map_size'])


def _problem(note: dict | None, person: dict, transforms: Sequence[BaseTransform]) -> str:
    """What is wrong with a cached person; empty if nothing."""
    if note is None:
        return 'no crop of this person'
    if note['files'] != _stamps(person):
        return 'its image has changed since'
    (x0, y0), (x1, y1) = note['reach']
    (left, top), (right, bottom) = reach(transforms, person)
    return '' if x0 <= left and y0 <= top and right <= x1 and bottom <= y1 else 'the pipeline reads more than was kept'


def _key(person: dict, data_root: str) -> bytes:
    """At most LMDB's 511 bytes; paths may be longer."""
    try:
        path = osp.relpath(person['img_path'], data_root)
    except ValueError:  # Windows: it lies on another drive
        path = person['img_path']
    return f'{path[-400:]} {person["bbox"][0].tolist()}'.encode()[-500:]


def _read_note(txn: Transaction, key: bytes) -> dict | None:
    note = txn.get(b'note ' + key)
    return None if note is None else json.loads(bytes(note))


def _stamps(person: dict) -> list[list[int]]:
    return [_stamp(person[key]) for key in PATHS if key in person]


def _stamp(path: str) -> list[int]:
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns]


def _flat(transforms: Iterable[BaseTransform]) -> Iterator[BaseTransform]:
    for step in transforms:
        if isinstance(step, OnLighting):
            yield from _flat(step.transforms.transforms)
        else:
            yield step


def _seeded(pipeline: Callable[[dict], dict], sample: dict, seed: int) -> dict:
    random.seed(int(seed))
    np.random.seed(seed)
    torch.manual_seed(int(seed))
    return pipeline(sample)


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return all(_equal(first[name], second[name]) for name in first)
    return first is second is None or torch.equal(first, second)


def _same(item: Any) -> Any:
    return item
