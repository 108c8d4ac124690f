"""Finding the files of ExLPose: annotation files, images, and the partner of an image.

People have the releases in several folder layouts, and files of several naming habits; all
of them are read where they are.
"""

import os
import os.path as osp
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from glob import escape, glob

from PIL import ExifTags, Image

from exlpose_mm.lighting import LIGHTINGS
from exlpose_mm.splits import LONG_NAMES, SHORT_NAMES

FOLDERS = dict(zip(LIGHTINGS, ('dark', 'bright')))
PERSON_LIST = 'ExLPose_train_trans.json'
"""The training set as one entry a person, which has the people of both training files."""
TRAINING = ('ExLPose_train_LL.json', 'ExLPose_train_WL.json')
ANNOTATION_DIRS = (
    '',
    *(
        f'{top}{sub}'
        for top in ('Annotations', 'annotations')
        for sub in ('', '/ExLPose', '/ExLPose-OCN', '/ExLPose-OC')
    ),
)


class DatasetError(ValueError):
    """The data set on disk does not fit what was asked for."""


class MissingFileError(DatasetError):
    """An annotation file or an image is nowhere it may be."""


class PairingError(DatasetError):
    """An image has no partner, more than one, or one of another size."""


def find_annotation(data_root: str | None, ann_file: str) -> str:
    """Return the path of an annotation file in any of the known layouts.

    A path that exists as given wins. Otherwise the file's name, or its other spelling
    (``LL-A``/``LL-All``, ``ExLPose-OC``/``ExLPose-OCN``, ...), is looked for in the data
    root and in its annotation folders. :data:`PERSON_LIST` serves where a training file is nowhere.

    Args:
        data_root (str, optional): Folder of the data set; None is the working directory.
        ann_file (str): File name, path below ``data_root``, or path.

    Raises:
        MissingFileError: If there is no such file; lists the places, and JSON files that are there.
    """
    root, (folder, name) = data_root or '', osp.split(ann_file)
    folders = [folder] if osp.isabs(folder) else [folder, *ANNOTATION_DIRS]
    places = [osp.join(root, ann_file), ann_file]
    places += [osp.join(root, place, alias) for alias in _aliases(name) for place in folders]
    for place in places:
        if osp.isfile(place):
            return place
    there = dict.fromkeys(path for place in folders for path in _json_files(osp.join(root, place)))
    raise MissingFileError(
        f'no annotation file {ann_file!r}; looked for:\n  '
        + '\n  '.join(dict.fromkeys(places))
        + (f'\nThere is {_listed([*there])}.' if there else '')
        + '\nSet data_root to the folder that holds the data set.'
    )


def _json_files(folder: str) -> list[str]:
    return sorted(glob(osp.join(escape(folder), '*.json')))


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ', '.join(names[:most]) + (f' and {len(names) - most} more' if names[most:] else '')


def _aliases(name: str) -> list[str]:
    stem, extension = osp.splitext(name)
    head, _, split = stem.rpartition('_')
    other_head = (
        head.replace('ExLPose-OC_', 'ExLPose-OCN_')
        if 'ExLPose-OC_' in head
        else head.replace('ExLPose-OCN_', 'ExLPose-OC_')
    )
    other_split = SHORT_NAMES.get(split) or LONG_NAMES.get(split, split)
    names = [f'{h}_{s}{extension}' for h in (head, other_head) for s in (split, other_split)]
    return list(dict.fromkeys([name, *names, *([PERSON_LIST] if name in TRAINING else [])]))


_WORD = re.compile(r'^(.*)_(bright|dark)(?=[_.])')
_GAIN = re.compile(r'_gain_-?\d+(\.\d+)?')


def name_lighting(file_name: str) -> str | None:
    """Return the lighting that an image's name, or else its folder, tells; None if neither."""
    folder, name = osp.split(file_name)
    match = _WORD.match(name)
    word = match.group(2) if match else osp.basename(folder)
    return next((lighting for lighting, own in FOLDERS.items() if own == word), None)


def pair_key(name: str) -> str:
    """Return what the file names of a pair share: all but ``bright``/``dark`` and the gain.

    The two cameras' gains differ (28.18 dB and 6.60 dB, say), so the word alone is not it.
    """
    return _GAIN.sub('_gain_*', _WORD.sub(r'\1_*', osp.basename(name)))


def read_pair_file(path: str) -> dict[tuple[str, str], set[str]]:
    """Read ``brightPath2darkPath.txt``.

    Returns:
        dict: ``(file name, lighting of the partner)`` to the partners' file names.

    Raises:
        DatasetError: If a line is not two paths, bright then dark, or the file is not UTF-8.
    """
    listed = defaultdict(set)
    with open(path, 'rb') as lines:
        for number, content in enumerate(lines, 1):
            try:
                line = content.decode('utf-8-sig' if number == 1 else 'utf-8')
            except UnicodeDecodeError as error:
                raise DatasetError(
                    f'{path}, line {number} is not UTF-8: {error}; save the file in this encoding'
                ) from error
            names = line.split()
            if not names:
                continue
            swapped = any(name_lighting(name) == other for name, other in zip(names, LIGHTINGS))
            if len(names) != 2 or swapped:
                raise DatasetError(f'{path}, line {number}: expected "<bright path> <dark path>", got {line.strip()!r}')
            bright, dark = (osp.basename(name) for name in names)
            listed[bright, 'low_light'].add(dark)
            listed[dark, 'well_lit'].add(bright)
    return dict(listed)


def path_parts(file_name: str) -> list[str]:
    """Split a relative path; raise :class:`DatasetError` if it leads out of its folder.

    Links on the disk are followed: whoever unpacked the data made or accepted them, unlike what a file says.
    """
    parts = re.split(r'[\\/]', file_name)
    if osp.isabs(file_name) or parts[0] == '' or '..' in parts:
        raise DatasetError(f'file_name {file_name!r} leads out of the data root; make it relative to it')
    return parts


def check_sizes(low_light: str, well_lit: str) -> None:
    """Raise :class:`PairingError` if two images differ in size; reads headers only."""
    sizes = [image_size(path) for path in (low_light, well_lit)]
    if sizes[0] != sizes[1]:
        raise PairingError(f'the images of a pair differ in size (w, h): {low_light} {sizes[0]}, {well_lit} {sizes[1]}')


def check_annotated_size(path: str, size: tuple[int, int], found: tuple[int, int] | None = None) -> None:
    """Raise :class:`DatasetError` unless an image has the annotated width and height, as :func:`check_tiff` too.

    Args:
        path (str): The file.
        size (tuple[int, int]): Annotated width and height.
        found (tuple[int, int], optional): Those of the image. By default its header is read.
    """
    found = found or image_size(path)
    check_tiff(path)
    if found != tuple(size):
        raise DatasetError(
            f'{path} is {found[0]} x {found[1]} pixels, annotated as {size[0]} x {size[1]}: joints and '
            'boxes would lie elsewhere; take the images that the annotation file is of'
        )


def check_tiff(path: str) -> None:
    """Raise :class:`DatasetError` for a TIFF file with an orientation, which OpenCV turns whatever it is asked."""
    if path.lower().endswith(('.tif', '.tiff')) and is_turned(path):
        raise DatasetError(
            f'{path} is a TIFF file with an orientation, which OpenCV would turn, but not its labels: '
            'write its pixels as PNG'
        )


def image_size(path: str) -> tuple[int, int]:
    """Width and height, by the file's header.

    Raises:
        DatasetError: If there is none, or it tells of more than Pillow's limit of 179 million pixels or of
            more than 8 bits a channel, of which loading would keep the upper 8: zeros of a dark image.
    """
    try:
        with Image.open(path) as image:
            deep = image.mode.startswith(('I', 'F')) or ';16' in str(image.tile)
            size = image.size
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f'{path} is not a readable image: {error}') from error
    if deep:
        raise DatasetError(
            f'{path} has more than 8 bits a channel, and only the upper 8 would be kept: write it as 8 bits'
        )
    return size


def is_turned(path: str) -> bool:
    """Whether a file's EXIF data have viewers, and MMPose's ``LoadImage``, turn or mirror its pixels."""
    with Image.open(path) as image:
        # getexif decodes all of a PNG that has none; a TIFF file has its tags elsewhere
        known = 'exif' in image.info or image.format == 'TIFF'
        return known and image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def shared_partners(pairs: Iterable[dict]) -> Iterator[PairingError]:
    """Yield an error for each well-lit image that is the partner of a second image."""
    owners: dict[str, str] = {}
    for pair in pairs:
        low_light, well_lit = pair['img_path'], pair['well_lit_path']
        owner = owners.setdefault(well_lit, low_light)
        if owner != low_light:
            yield PairingError(f'{well_lit} is the partner of both {owner} and {low_light}')


class ImageFinder:
    """Finds the image of a given lighting for a ``file_name`` of an annotation file.

    Args:
        bases (Sequence[str]): Folders that ``file_name`` may be relative to; each may hold
            the folders ``dark`` and ``bright``.
        pair_file (str, optional): Lines of ``<bright path> <dark path>``, compared by file
            name. Images it does not list are paired by their names.
    """

    def __init__(self, bases: Sequence[str], pair_file: str | None = None) -> None:
        self.bases = list(dict.fromkeys(osp.normpath(base) for base in bases))
        self.listed = read_pair_file(pair_file) if pair_file else {}
        self.index = lru_cache(maxsize=None)(self._index)

    def find(self, file_name: str, lighting: str) -> str:
        """Return the path of ``file_name``, or of its partner if it is of the other lighting.

        Raises:
            DatasetError: If ``file_name`` leads out of the data root.
            MissingFileError: If the image is not on disk.
            PairingError: As :meth:`partner`.
        """
        parts = path_parts(file_name)
        if name_lighting(file_name) not in (None, lighting):
            return self.partner(file_name, lighting)
        names = (
            [file_name, osp.join(FOLDERS[lighting], file_name)]
            if len(parts) == 1
            else [file_name, file_name.removeprefix('PID_'), f'PID_{file_name}']
        )
        places = [osp.join(base, name) for base in self.bases for name in dict.fromkeys(names)]
        for place in places:
            if osp.isfile(place):
                return place
        raise MissingFileError(f'no image {file_name!r}; looked for {", ".join(places)}')

    def partner(self, file_name: str, lighting: str) -> str:
        """Return the path of the image of the same scene under ``lighting``.

        Raises:
            PairingError: If there is not exactly one.
        """
        name, (by_name, by_key) = osp.basename(file_name), self.index(lighting)
        listed = self.listed.get((name, lighting))
        wanted = sorted(listed) if listed else [pair_key(name)]
        found = sorted(listed) if listed else sorted(by_key[wanted[0]])
        if len(found) > 1:
            raise PairingError(f'{file_name}: its {FOLDERS[lighting]} partner is ambiguous: ' + ', '.join(found))
        if not found or found[0] not in by_name:
            places = ', '.join(osp.join(base, FOLDERS[lighting]) for base in self.bases)
            raise PairingError(f'{file_name}: no {FOLDERS[lighting]} partner: looked for {wanted[0]} in {places}')
        return by_name[found[0]]

    def _index(self, lighting: str) -> tuple[dict[str, str], dict[str, set[str]]]:
        """Paths by file name, and file names by pair key, of the images of one lighting."""
        by_name: dict[str, str] = {}
        by_key: dict[str, set[str]] = defaultdict(set)
        for base in self.bases:
            for folder in (osp.join(base, FOLDERS[lighting]), base):
                for name in os.listdir(folder) if osp.isdir(folder) else ():
                    if folder != base or name_lighting(name) == lighting:
                        by_name.setdefault(name, osp.join(folder, name))
                        by_key[pair_key(name)].add(name)
        return by_name, by_key
