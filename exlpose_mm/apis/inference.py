"""Poses in anybody's images: files, folders, videos, a webcam."""

import glob
import json
import os.path as osp
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmpose.apis import inference_topdown, init_model
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.structures import PoseDataSample, merge_data_samples

from exlpose_mm.apis.deployment import force_lighting
from exlpose_mm.datasets.annotations import box_problem, people_of
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.datasets.transforms.loading import ImageError, load_8_bits
from exlpose_mm.engine import zoo
from exlpose_mm.engine.fitting import load_fitting
from exlpose_mm.lighting import check_lighting
from exlpose_mm.visualization import draw_poses, is_dark, lift
from exlpose_mm.writing import write_file

IMAGES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')
OTHERS = ('.heic', '.heif', '.gif', '.avif', '.jxl', '.jp2', '.dng', '.arw', '.cr2', '.cr3', '.nef', '.raw')
"""Pictures that are not read; nor are videos among other files."""
Boxes = Callable[[np.ndarray, str], np.ndarray]
"""A frame, BGR, and its name to people's boxes (N, 4), x1 y1 x2 y2 in pixels."""


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
        _check_different(paths, lambda path: Path(path).stem, 'images')
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


def _check_different(names: Sequence[str], key: Callable[[str], str], what: str) -> None:
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


def load_model(
    config: str | None = None, checkpoint: str | None = None, device: str = 'cpu', lighting: str | None = None
) -> BasePoseEstimator:
    """A pose estimator of any config of this package or of MMPose's top-down ones, or the one that is shipped.

    Args:
        config (str, optional): Path. By default, with no checkpoint either, the shipped model's.
        checkpoint (str, optional): Path, of which only tensors are read, or URL. What a URL names is unpickled
            as usual in MMPose and may run code: take it from a source you trust.
        device (str): Defaults to ``'cpu'``.
        lighting (str, optional): Of every image. By default ``TagLighting`` reads it from each.

    Raises:
        ValueError: If the lighting is unknown, or forced upon a config without ``TagLighting``, or there is a config
            without a checkpoint.
        CheckpointError: If the file cannot be read, holds more than tensors and plain data need, or is of
            another model.
    """
    if config is None and checkpoint is None:
        config, checkpoint = zoo.CONFIG, zoo.WEIGHTS
    if config is None or checkpoint is None:
        raise ValueError(
            f'{config or checkpoint} alone is no model: name a config and its checkpoint, or neither to take the '
            'shipped model'
        )
    cfg = Config.fromfile(config)
    if lighting is not None:
        cfg.test_dataloader.dataset.pipeline = _forced(cfg, lighting)
    cfg.setdefault('train_dataloader', cfg.get('test_dataloader'))  # a deployed model has only that
    model = init_model(cfg, checkpoint if '://' in checkpoint else None, device=device)
    if '://' not in checkpoint:
        load_fitting(model, checkpoint)
    return model


def _forced(config: Config, lighting: str) -> list[dict]:
    """The test pipeline with another TagLighting."""
    check_lighting(lighting)
    steps = config.test_dataloader.dataset.pipeline
    if not any(step['type'] == 'TagLighting' for step in steps):
        raise ValueError(f'{config.filename} has no TagLighting in its test pipeline that a lighting could be given')
    return [force_lighting(dict(step), lighting) for step in steps]


def whole_image(image: np.ndarray, name: str) -> np.ndarray:
    """One person who fills the frame."""
    return np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)


def boxes_from_file(path: str) -> Boxes:
    """People's boxes of a COCO-style annotation file, by the images' file names.

    Crowds, and if the file lists categories all but people, are left out.

    Raises:
        SourceError: If it is none, or it is not clear which category are people.
    """
    try:
        content = read_annotations(path)
        files = [image['file_name'] for image in content['images']]
        names = {image['id']: osp.basename(name) for image, name in zip(content['images'], files)}
        boxes: dict[str, list] = {name: [] for name in names.values()}
        for person in people_of(content, path):
            if person.get('iscrowd'):
                continue
            x, y, width, height = person['bbox']
            boxes[names[person['image_id']]].append([x, y, x + width, y + height])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SourceError(f'{path} is no COCO annotation file with images and boxes: {error!r}') from error
    _check_different(files, osp.basename, 'images')

    def of(image: np.ndarray, name: str) -> np.ndarray:
        if name not in boxes:
            raise SourceError(f'{path} does not know the image {name}')
        return np.array(boxes[name], np.float32).reshape(-1, 4)

    return of


def find_poses(
    model: BasePoseEstimator, image: np.ndarray, boxes: np.ndarray, lighting: str | None = None
) -> PoseDataSample:
    """The people of a frame in one sample, without ``pred_instances`` if there are no boxes.

    Args:
        model (BasePoseEstimator): From :func:`load_model`.
        image (np.ndarray): (H, W, 3), uint8, BGR.
        boxes (np.ndarray): (N, 4), x1 y1 x2 y2 in pixels.
        lighting (str, optional): Of this frame. By default as the model was loaded.

    Returns:
        PoseDataSample: ``pred_instances`` of ``keypoints``, ``keypoint_scores``, ``bboxes`` and, of models that know
        lightings, ``lighting``: a list of the lighting of each person.

    Raises:
        SourceError: If a box (x1, y1, x2, y2) is not of numbers, has no area or lies outside of the frame, or
            the prediction is not of numbers.
    """
    for box in np.reshape(boxes, (-1, 4)).astype(float):
        problem = box_problem(dict(bbox=[*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]), image.shape[1::-1])
        if problem:
            raise SourceError(f'a person {problem}')
    if not len(boxes):
        return PoseDataSample()
    with _pipeline(model, lighting):
        people = inference_topdown(model, image, boxes)
    poses = merge_data_samples(people)
    found = poses.pred_instances
    if all('lighting' in person for person in people):
        found.lighting = [person.lighting for person in people]
    if not (np.isfinite(found.keypoints).all() and np.isfinite(found.keypoint_scores).all()):
        raise SourceError('the predicted joints are not numbers: is something wrong with the weights?')
    return poses


@contextmanager
def _pipeline(model: BasePoseEstimator, lighting: str | None) -> Iterator[None]:
    """Have a model take every image to be of this lighting, if it is given."""
    dataset = model.cfg.test_dataloader.dataset
    before = dataset.pipeline
    try:
        if lighting is not None:
            dataset.pipeline = _forced(model.cfg, lighting)
        yield
    finally:
        dataset.pipeline = before


def lightings_in(poses: PoseDataSample) -> list[str]:
    """Of each person of :func:`find_poses`; empty if there is none, or the model knows no lightings."""
    return poses.pred_instances.get('lighting', []) if 'pred_instances' in poses else []


def draw(image: np.ndarray, poses: PoseDataSample, metainfo: dict) -> np.ndarray:
    """Poses on the frame as it is and, if somebody is in low light, on the lifted one to its right.

    Where it is not known who is, that is if the frame is dark.
    """
    lightings = lightings_in(poses)
    lifts = 'low_light' in lightings if lightings else is_dark(image)
    panels = [image, lift(image)] if lifts else [image]
    if 'pred_instances' in poses:
        panels = [draw_poses(panel, poses, metainfo) for panel in panels]
    return np.hstack(panels)


class Predictions:
    """Poses as the content of a COCO-style file; the third number of a joint is its score, ``lighting`` a person's.

    Args:
        metainfo (dict): The model's ``dataset_meta``.
    """

    def __init__(self, metainfo: dict) -> None:
        names = [metainfo['keypoint_id2name'][i] for i in range(metainfo['num_keypoints'])]
        self.content = dict(images=[], annotations=[], categories=[dict(id=1, name='person', keypoints=names)])

    def add(self, name: str, image: np.ndarray, poses: PoseDataSample) -> None:
        """Add a frame and its people."""
        number = len(self.content['images']) + 1
        height, width = image.shape[:2]
        self.content['images'].append(dict(id=number, file_name=name, height=height, width=width))
        for (keypoints, scores, box), light in zip_longest(_people(poses), lightings_in(poses)):
            x0, y0, x1, y1 = map(float, box)
            self.content['annotations'].append(
                dict(
                    id=len(self.content['annotations']) + 1,
                    image_id=number,
                    category_id=1,
                    iscrowd=0,
                    bbox=[x0, y0, x1 - x0, y1 - y0],
                    area=(x1 - x0) * (y1 - y0),
                    score=float(np.mean(scores)),
                    **({} if light is None else dict(lighting=light)),
                    keypoints=np.column_stack([keypoints, scores]).astype(float).round(3).ravel().tolist(),
                )
            )

    def write(self, path: str | Path) -> None:
        """Write the file whole, in place of what has its name.

        Raises:
            OSError: If it cannot be written.
        """
        write_file(Path(path), json.dumps(self.content, indent=1, allow_nan=False).encode())


def _people(poses: PoseDataSample) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    if 'pred_instances' not in poses:
        return ()
    found = poses.pred_instances
    return zip(found.keypoints, found.keypoint_scores, found.bboxes)


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
