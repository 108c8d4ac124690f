"""A paired data set of drawn people in ExLPose's folder layout, which needs no download.

The drawing is the well-lit image; a camera that the caller passes turns it into the low-light
one. Image i of a split depends on the seed, the size and i only, not on how many there are.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from exlpose_mm.camera import simulation as camera
from exlpose_mm.datasets.making.drawing import Range, Size, check_people, check_size, draw_scene
from exlpose_mm.datasets.making.layout import IMAGES, SPLITS, make_folders, write_annotations, write_image

__all__ = ['LEVELS', 'draw_scene', 'write_dataset']

LEVELS = tuple(camera.LEVELS)
GAINS = dict(normal=(1, 14.9), hard=(15.7, 23.9), extreme=(24.1, 38.7))  # dB of the bright camera
SHUTTERS = dict(normal=100, hard=400, extreme=1200)  # the N of "exp<N>"
RECIPE = 'dataset.json'
GENERATOR = 1  # raise it when the same seed no longer draws the same images
Darken = Callable[[np.ndarray, str, np.random.Generator], np.ndarray]
"""A well-lit image (h, w, 3) uint8 BGR, a level of ``LEVELS`` and a generator to the low-light image."""


def file_names(split: str, index: int, level: str, rng: np.random.Generator) -> dict[str, str]:
    """The pair's files relative to the images' folder: {'bright': name, 'dark': name}."""
    gain = rng.uniform(*GAINS[level])
    shutter = SHUTTERS[level]
    return {
        side: f'{side}/imgs_010{1 + SPLITS.index(split)}_vid{index:06d}_exp{shutter}_{side}_000002'
        f'__gain_{side_gain:.2f}_exposure_{500000 / shutter:.0f}.png'
        for side, side_gain in (('bright', gain), ('dark', 0.2 * gain))
    }


def darken_checked(darken: Darken, image: np.ndarray, level: str, rng: np.random.Generator) -> np.ndarray:
    dark = darken(image, level, rng)
    if dark.dtype != np.uint8 or dark.shape != image.shape:
        raise ValueError(f'darken must return uint8 of shape {image.shape}; got {dark.dtype} of shape {dark.shape}')
    return dark


def write_pair(
    folder: Path, split: str, index: int, seed: int, size: Size, darken: Darken, people: Range | None = None
) -> dict:
    """Draws and writes one pair of images; returns what its annotations need."""
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    level = LEVELS[index % len(LEVELS)]
    names = file_names(split, index, level, rng)
    bright, labels = draw_scene(rng, size, people)
    write_image(folder / names['bright'], bright)
    write_image(folder / names['dark'], darken_checked(darken, bright, level, rng))
    return dict(id=index, level=level, names=names, size=size, people=labels)


def make_recipe(
    num_train: int, num_test: int, seed: int, size: Size, darken: Darken, people: Range | None = None
) -> dict:
    if num_train < 1:
        raise ValueError(f'num_train must be at least 1; got {num_train}')
    if num_test < len(LEVELS):
        raise ValueError(f'num_test must be at least {len(LEVELS)}, one image for each of {LEVELS}; got {num_test}')
    if seed < 0:
        raise ValueError(f'seed must not be negative; got {seed}')
    name = getattr(darken, '__qualname__', type(darken).__qualname__)
    return dict(
        generator=GENERATOR,
        num_train=num_train,
        num_test=num_test,
        seed=seed,
        size=list(size),
        camera=f'{darken.__module__}.{name}',
        **(dict(people=list(check_people(people))) if people else {}),
    )


def is_finished(root: Path, recipe: dict) -> bool:
    """Whether `root` holds the finished data set; False if it is empty or was interrupted."""
    if not root.exists():
        return False
    if not root.is_dir():
        raise ValueError(f'{root} is a file; name a folder')
    for path in (root / RECIPE, root / (RECIPE + '.part')):
        if path.exists():
            found = json.loads(path.read_text(encoding='utf-8'))
            if found == recipe:
                return path.name == RECIPE
            raise ValueError(
                f'{root} holds a data set made otherwise ({found} instead of '
                f'{recipe}): name another folder or delete this one'
            )
    if any(root.iterdir()):
        raise ValueError(f'{root} is not empty and holds no generated data set: name another folder or empty this one')
    return False


def write_dataset(
    root: str | Path,
    num_train: int,
    num_test: int,
    seed: int,
    size: Size,
    darken: Darken,
    progress: Callable[[], None] | None = None,
    people: Range | None = None,
) -> bool:
    """Writes drawn pairs with ExLPose's annotations, unless `root` holds the same set already.

    See :mod:`exlpose_mm.datasets.making.layout` for the folders. The three low-light levels take turns from image
    to image; in the test split each level is a test set of its own (LL-N, LL-H, LL-E) and LL-A is
    their union. An interrupted call can be repeated; a finished set is known by its
    ``dataset.json``, which is written last.

    Args:
        root (str | Path): the data set's folder; made if missing.
        num_train (int): training pairs, at least 1.
        num_test (int): test pairs, at least 3.
        seed (int): not negative.
        size (tuple[int, int]): (w, h) of the images in pixels, each at least 64.
        darken (callable): ``darken(image, level, rng)`` takes the well-lit image (h, w, 3) uint8
            BGR, a level of ``LEVELS`` and a NumPy generator, and returns the low-light image of
            the same shape and type.
        progress (callable, optional): called without arguments after each pair.
        people (tuple[int, int], optional): fewest and most people an image, all numbers as often. Defaults to one to
            three, fewer more often.

    Returns:
        bool: True if the set was written, False if it was there.

    Raises:
        ValueError: a number is out of its range, `root` holds anything else, or `darken` returns
            another type or shape.
        OSError: an image could not be written.
    """
    root, size = Path(root), check_size(size)
    recipe = make_recipe(num_train, num_test, seed, size, darken, people)
    if is_finished(root, recipe):
        return False
    make_folders(root)
    started = root / (RECIPE + '.part')
    started.write_text(json.dumps(recipe), encoding='utf-8')
    labels: dict[str, list[dict]] = {}
    for split, count in zip(SPLITS, (num_train, num_test)):
        labels[split] = []
        for index in range(count):
            labels[split].append(write_pair(root / IMAGES, split, index, seed, size, darken, people))
            if progress:
                progress()
    for split, pairs in labels.items():
        write_annotations(root, split, pairs, 'Drawn people, not photographs')
    os.replace(started, root / RECIPE)
    return True
