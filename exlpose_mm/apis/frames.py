"""Frames of files, folders, videos and webcams, and what is written of them."""

import glob
import os.path as osp
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from exlpose_mm.datasets.transforms.loading import ImageError, load_8_bits
from exlpose_mm.writing import write_file

IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')
OTHERS = ('.heic', '.heif', '.gif', '.avif', '.jxl', '.jp2', '.dng', '.arw', '.cr2', '.cr3', '.nef', '.raw')
"""Pictures that are not read; nor are videos among other files."""


class SourceError(ValueError):
    """There is nothing to look at, or what there is cannot be read."""


@dataclass(frozen=True)
class Frame:
    """An image of a source, or why it could not be read.

    Args:
        name (str): Of the file, or the frame's number.
        image (np.ndarray, optional): (H, W, 3), uint8, BGR.
        error (str): Empty if there is an image.
    """

    name: str
    image: np.ndarray | None
    error: str = ''

    def pixels(self) -> np.ndarray:
        """The image.

        Raises:
            SourceError: If it could not be read.
        """
        if self.image is None:
            raise SourceError(self.error)
        return self.image


class Source:
    """Frames of an image, a folder, a glob, a video or a webcam, one after the other.

    Args:
        source (str): A path; a pattern with ``*``, ``?`` or ``[``; or the index of a webcam.

    Attributes:
        left_out (list[str]): A line for each file of a folder or glob that is a picture or a video, but not read.

    Raises:
        SourceError: If there is no such file, no image in it, or it is no video.
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.capture: cv2.VideoCapture | None = None
        self.paths: list[str] = []
        self.left_out: list[str] = []
        webcam = source.isdigit() and not osp.exists(source)
        if webcam or Path(source).suffix.lower() in VIDEOS:
            if not webcam and not osp.isfile(source):
                raise SourceError(f'no file {source!r}')
            if not _is_utf_8(source):
                raise SourceError(f'the name {source!r} is not UTF-8; rename the video')
            self.capture = cv2.VideoCapture(int(source) if webcam else source)
            if not self.capture.isOpened():
                raise SourceError(f'{"webcam " * webcam}{source} cannot be opened as a video')
            self.capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        else:
            self.paths = self._find()

    def _find(self) -> list[str]:
        if osp.isfile(self.source):
            return [self.source]
        if not osp.exists(self.source) and not glob.has_magic(self.source):
            raise SourceError(f'no file or folder {self.source!r}')
        inside = osp.join(glob.escape(self.source), '*') if osp.isdir(self.source) else self.source
        paths = sorted(glob.glob(inside, recursive=True))
        self.left_out = [
            f'{path}: not read among other files; known are {", ".join(IMAGES)}'
            for path in paths
            if Path(path).suffix.lower() in (*OTHERS, *VIDEOS)
        ]
        paths = [path for path in paths if Path(path).suffix.lower() in IMAGES]
        if not paths:
            raise SourceError(
                f'no image in {self.source!r}; known are {", ".join(IMAGES)}, videos '
                f'{", ".join(VIDEOS)}, and a number for a webcam'
            )
        check_different(paths, lambda path: Path(path).stem, 'images')
        return paths

    @property
    def is_video(self) -> bool:
        """Whether its frames belong to one video."""
        return self.capture is not None

    @property
    def rate(self) -> float:
        """Frames a second; 25 if that is not known."""
        known = self.capture.get(cv2.CAP_PROP_FPS) if self.capture else None
        return known or 25.0

    def __len__(self) -> int:
        """Number of frames; 0 if that is not known."""
        return max(0, int(self.capture.get(cv2.CAP_PROP_FRAME_COUNT))) if self.capture else len(self.paths)

    def __iter__(self) -> Iterator[Frame]:
        if self.capture is None:
            yield from map(_read, self.paths)
            return
        index, (there, image) = 0, self.capture.read()
        while there:
            yield Frame(f'{index:06d}', image)
            index, (there, image) = index + 1, self.capture.read()


def _is_utf_8(name: str) -> bool:
    """Whether a file's name is; what is not has come as surrogates, on which OpenCV crashes."""
    return not any('\ud800' <= letter <= '\udfff' for letter in name)


def check_different(names: Sequence[str], key: Callable[[str], str], what: str) -> None:
    """Raise :class:`SourceError` if two are of one name, by which results and boxes are told apart."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(key(name), name)
        if other != name:
            raise SourceError(f'two {what} of one name, {other} and {name}: take one folder after the other')


def _read(path: str) -> Frame:
    try:
        return Frame(osp.basename(path), load_8_bits(path))
    except ImageError as error:
        return Frame(osp.basename(path), None, ' '.join(str(error).split()))


class Writer:
    """Writes drawn frames: pictures of the frames' names, or one video.

    Args:
        folder (str | Path): Made if missing.
        source (Source): What the frames come from.

    Raises:
        SourceError: If it would write over what it reads, or a video's folder has a name that is not UTF-8.
    """

    VIDEO = 'poses.mp4'

    def __init__(self, folder: str | Path, source: Source) -> None:
        self.folder, self.source = Path(folder), source
        self.video: cv2.VideoWriter | None = None
        read = [source.source] if source.is_video else source.paths
        written = [self.VIDEO] if source.is_video else [f'{Path(path).stem}.png' for path in read]
        both = {Path(path).resolve() for path in read} & {(self.folder / name).resolve() for name in written}
        if both:
            raise SourceError(f'{min(both)} would be written over; name another folder for the results')
        if source.is_video and not _is_utf_8(str(folder)):
            raise SourceError(f'the name {str(folder)!r} is not UTF-8; name another folder for the video')
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, picture: np.ndarray) -> None:
        """Add a frame.

        Raises:
            OSError: If it cannot be written.
        """
        if not self.source.is_video:
            write_file(self.folder / f'{Path(name).stem}.png', cv2.imencode('.png', picture)[1].tobytes())
            return
        if self.video is None:
            self.size = picture.shape[1::-1]
            path = str(self.folder / self.VIDEO)
            self.video = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'mp4v'), self.source.rate, self.size)
            if not self.video.isOpened():
                raise OSError(f'cannot write {path}')
        if picture.shape[1::-1] != self.size:  # the light went on or off
            picture = cv2.resize(picture, self.size)
        self.video.write(picture)

    def close(self) -> None:
        """Finish the video."""
        if self.video is not None:
            self.video.release()
