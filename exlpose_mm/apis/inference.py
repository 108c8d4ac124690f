"""Poses in anybody's images."""

import json
import os.path as osp
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.structures import InstanceData
from mmpose.apis import inference_bottomup, inference_topdown, init_model
from mmpose.models.pose_estimators import BottomupPoseEstimator
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.structures import PoseDataSample, merge_data_samples

from exlpose_mm.apis.deployment import force_lighting
from exlpose_mm.apis.frames import SourceError, check_different
from exlpose_mm.datasets.annotations import box_problem, people_of
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.engine import zoo
from exlpose_mm.engine.building import naming_joints, read_config
from exlpose_mm.engine.fitting import load_fitting
from exlpose_mm.lighting import check_lighting
from exlpose_mm.visualization import draw_poses, is_dark, lift
from exlpose_mm.writing import write_file

Boxes = Callable[[np.ndarray, str], np.ndarray]
"""A frame, BGR, and its name to people's boxes (N, 4), x1 y1 x2 y2 in pixels."""


def load_model(
    config: str | None = None, checkpoint: str | None = None, device: str = 'cpu', lighting: str | None = None
) -> BasePoseEstimator:
    """A pose estimator of any config of this package or of MMPose, or the one that is shipped.

    Args:
        config (str, optional): Path, or ``mmpose::`` and its path below ``configs/``. By default, with no checkpoint
            either, the shipped model's.
        checkpoint (str, optional): Path or URL; no code of it is run.
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
    cfg = read_config(config)
    if lighting is not None:
        cfg.test_dataloader.dataset.pipeline = _forced(cfg, lighting)
    cfg.setdefault('train_dataloader', cfg.get('test_dataloader'))  # a deployed model has only that
    cfg.train_dataloader.dataset = naming_joints(cfg.train_dataloader.dataset)
    model = init_model(cfg, None, device=device)
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
    check_different(files, osp.basename, 'images')

    def of(image: np.ndarray, name: str) -> np.ndarray:
        if name not in boxes:
            raise SourceError(f'{path} does not know the image {name}')
        return np.array(boxes[name], np.float32).reshape(-1, 4)

    return of


def finds_people(model: BasePoseEstimator) -> bool:
    """Whether a model finds the people of an image by itself, bottom-up or in a single stage, and takes no boxes."""
    return isinstance(model, BottomupPoseEstimator)


def find_poses(
    model: BasePoseEstimator,
    image: np.ndarray,
    boxes: np.ndarray | None = None,
    lighting: str | None = None,
    score_thr: float = 0.0,
) -> PoseDataSample:
    """The people of a frame in one sample, without ``pred_instances`` if there is nobody.

    Args:
        model (BasePoseEstimator): From :func:`load_model`.
        image (np.ndarray): (H, W, 3), uint8, BGR.
        boxes (np.ndarray, optional): (N, 4), x1 y1 x2 y2 in pixels; None for a model that :func:`finds_people`.
        lighting (str, optional): Of this frame. By default as the model was loaded.
        score_thr (float): People whom the model found itself are left out below this score: that of their box or,
            if the model knows none, the mean of their joints' scores.

    Returns:
        PoseDataSample: ``pred_instances`` of ``keypoints``, ``keypoint_scores``, ``bboxes`` and, of models that know
        lightings, ``lighting``: a list of the lighting of each person.

    Raises:
        SourceError: If a box (x1, y1, x2, y2) is not of numbers, has no area or lies outside of the frame, or
            the prediction is not of numbers.
        ValueError: If there are boxes where the model takes none, or none where it needs them.
    """
    if finds_people(model) != (boxes is None):
        needs = 'finds people by itself, and takes no boxes' if boxes is not None else "needs people's boxes"
        raise ValueError(f'the {type(model).__name__} {needs}')
    if boxes is not None:
        _check_boxes(boxes, image)
    with _pipeline(model, lighting):
        if boxes is None:
            people = inference_bottomup(model, image)
        else:
            people = inference_topdown(model, image, boxes) if len(boxes) else []
    for person in people:
        _check_numbers(person.pred_instances)
        if boxes is None:
            person.pred_instances = _seen(person.pred_instances, score_thr)
    if not any(len(person.pred_instances) for person in people):
        return PoseDataSample()
    poses = merge_data_samples(people)
    found = poses.pred_instances
    if all('lighting' in person for person in people):
        found.lighting = [person.lighting for person in people for _ in range(len(person.pred_instances))]
    return poses


def _check_boxes(boxes: np.ndarray, image: np.ndarray) -> None:
    for box in np.reshape(boxes, (-1, 4)).astype(float):
        problem = box_problem(dict(bbox=[*box[:2].tolist(), *(box[2:] - box[:2]).tolist()]), image.shape[1::-1])
        if problem:
            raise SourceError(f'a person {problem}')


def _check_numbers(found: InstanceData) -> None:
    if not (np.isfinite(found.keypoints).all() and np.isfinite(found.keypoint_scores).all()):
        raise SourceError('the predicted joints are not numbers: is something wrong with the weights?')


def _seen(found: InstanceData, score_thr: float) -> InstanceData:
    """Only people of at least this score, with boxes around their joints if the model gave none."""
    scores = found.get('bbox_scores', found.keypoint_scores.mean(axis=1))
    found = found[np.asarray(scores) >= score_thr]
    if 'bboxes' not in found:
        found.bboxes = np.concatenate([found.keypoints.min(axis=1), found.keypoints.max(axis=1)], axis=1)
    return found


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
