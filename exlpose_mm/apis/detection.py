"""People found by a detector, in the file that ``bbox_file`` of the data sets reads."""

from collections.abc import Callable

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.apis import inference_detector, init_detector
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from mmdet.utils import get_test_pipeline_cfg
from mmengine.registry import DefaultScope
from mmpose.structures.bbox import bbox_xywh2xyxy

from exlpose_mm.datasets.annotations import person_category
from exlpose_mm.datasets.exlpose import ExLPoseDataset
from exlpose_mm.datasets.files import find_annotation, image_size
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.datasets.transforms.lighting import TagLighting
from exlpose_mm.datasets.transforms.loading import ImageError, load_image
from exlpose_mm.datasets.transforms.photometry import ScaleToMean
from exlpose_mm.engine.building import read_config
from exlpose_mm.engine.fitting import load_fitting
from exlpose_mm.lighting import check_lighting
from exlpose_mm.models.preprocessor import LightingDataPreprocessor

__all__ = [
    'DetectionError',
    'load_detector',
    'list_images',
    'images_of',
    'brightened',
    'detect_people',
    'people_in',
    'as_annotations',
    'sized',
]

PERSON = 'person'


class DetectionError(ValueError):
    """A detector cannot find people."""


def load_detector(config: str, checkpoint: str | None, device: str = 'cpu') -> BaseDetector:
    """Build an MMDetection detector.

    Args:
        config (str): Path of an MMDetection config, or ``mmdet::`` and its path below
            ``configs/``, e.g. ``'mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py'``.
        checkpoint (str, optional): Path or URL of its weights; no code of it is run. None leaves random weights.
        device (str): Defaults to ``'cpu'``.

    Raises:
        DetectionError: If the detector does not know the class ``person``.
        CheckpointError: If the checkpoint cannot be read or is of another model.
    """
    cfg = read_config(config)
    # mmdet makes its scope the default one for good.
    with DefaultScope.overwrite_default_scope('mmdet'):
        detector = init_detector(cfg, checkpoint, palette='coco', device=device)
    if checkpoint:
        load_fitting(detector, checkpoint)  # MMDetection's loading, which knows the classes, takes what fits
    if PERSON not in detector.dataset_meta['classes']:
        raise DetectionError(
            f'{checkpoint} detects {tuple(detector.dataset_meta["classes"])}, but '
            f'not {PERSON!r}; use a detector trained on COCO, say'
        )
    return detector


def list_images(ann_file: str, data_root: str | None, lighting: str) -> dict[int, str]:
    """Image ids of an annotation file, and the paths of these images under one lighting.

    Args:
        ann_file (str): As for :class:`~exlpose_mm.datasets.exlpose.ExLPoseDataset`.
        data_root (str): As for :class:`~exlpose_mm.datasets.exlpose.ExLPoseDataset`.
        lighting (str): One of :data:`~exlpose_mm.lighting.LIGHTINGS`.

    Raises:
        DatasetError: If the annotation file, an image or its partner is not found.
    """
    dataset = ExLPoseDataset(lighting, ann_file, data_root, data_mode='bottomup', test_mode=True)
    return images_of(dataset)


def images_of(dataset: ExLPoseDataset) -> dict[int, str]:
    """Image ids and paths of a data set of whole images."""
    infos = map(dataset.get_data_info, range(len(dataset)))
    return {info['img_id']: info['img_path'] for info in infos}


def brightened(image: np.ndarray, lighting: str) -> np.ndarray:
    """An image as a detector of ordinary photographs wants it, (H, W, 3) uint8 BGR.

    Low light is brightened by :class:`~exlpose_mm.ScaleToMean`, as for the pose network, and then clipped.

    Raises:
        ValueError: If the lighting is unknown.
    """
    if check_lighting(lighting) == 'well_lit':
        return image
    return ScaleToMean().transform(dict(img=image))['img'].round().clip(0, 255).astype(np.uint8)


def people_in(
    detector: BaseDetector, image: np.ndarray, score_thr: float = 0.3, lighting: str | None = None
) -> np.ndarray:
    """Boxes (N, 4), float32, x1 y1 x2 y2, of the people in an image (H, W, 3), uint8 BGR.

    Args:
        detector (BaseDetector): From :func:`load_detector`.
        image (np.ndarray): Of any lighting.
        score_thr (float): Boxes with a lower score are left out. Defaults to 0.3.
        lighting (str, optional): Of the image; by default ``TagLighting`` reads it.

    Raises:
        ValueError: If the lighting is unknown.
    """
    if lighting is None:
        lighting = TagLighting().transform(dict(img=image))['lighting']
    found = _people(detector, image, check_lighting(lighting), score_thr)
    return bbox_xywh2xyxy(np.array([box for box, _ in found], np.float32).reshape(-1, 4))


def detect_people(
    detector: BaseDetector,
    images: dict[int, str],
    lighting: str,
    score_thr: float = 0.05,
    progress: Callable[[], None] = lambda: None,
    pixels: Callable[[np.ndarray, int], np.ndarray] = lambda image, image_id: image,
) -> tuple[list[dict], list[ImageError]]:
    """Detect the people in each image.

    Args:
        detector (BaseDetector): From :func:`load_detector`.
        images (dict[int, str]): Image ids and paths.
        lighting (str): Lighting of the images. A detector of two lightings runs under it; for any other dark images
            are :func:`brightened`.
        score_thr (float): Boxes with a lower score are left out. Defaults to 0.05.
        progress (Callable): Called after each image.
        pixels (Callable): What is looked at, of an image as it was read and its id: a darkened one, say.

    Returns:
        tuple: The detections, COCO results ``dict(image_id, category_id=1, bbox, score)`` with
        ``bbox`` as (x, y, w, h) in pixels; and the errors of images that cannot be read.
    """
    detections, errors = [], []
    for image_id, path in images.items():
        try:
            image = pixels(load_image(path), image_id)
        except ImageError as error:
            errors.append(error)
        else:
            detections += [
                dict(image_id=image_id, category_id=1, bbox=box, score=score)
                for box, score in _people(detector, image, lighting, score_thr)
            ]
        progress()
    return detections, errors


def as_annotations(
    detections: list[dict], ann_file: str, data_root: str | None, images: dict[int, str] | None = None
) -> dict:
    """Detections as the content of an annotation file of people without joints.

    For training data with ``unlabelled=True``, whose images no one has labelled.

    Args:
        detections (list[dict]): From :func:`detect_people`.
        ann_file, data_root (str): Of the images; see :func:`list_images`.
        images (dict[int, str], optional): Image ids and paths from :func:`list_images`, which tell the sizes that
            ``ann_file`` does not, if it is a list of people.
    """
    path = find_annotation(data_root, ann_file)
    known = read_annotations(path)
    categories = known.get('categories') or [dict(id=1, name='person')]
    person = person_category(categories, path)['id']
    people = [
        dict(
            id=i,
            image_id=d['image_id'],
            category_id=person,
            bbox=d['bbox'],
            iscrowd=0,
            area=d['bbox'][2] * d['bbox'][3],
        )
        for i, d in enumerate(detections, start=1)
    ]
    return dict(images=sized(known['images'], images or {}), annotations=people, categories=categories)


def sized(images: list[dict], paths: dict[int, str]) -> list[dict]:
    """An annotation file's images with ``width`` and ``height``: where it says none, of the file of this id."""
    return [
        image
        if 'width' in image or image['id'] not in paths
        else dict(image, **dict(zip(('width', 'height'), image_size(paths[image['id']]))))
        for image in images
    ]


def _people(detector: BaseDetector, image: np.ndarray, lighting: str, score_thr: float) -> list[tuple[list, float]]:
    """Boxes (x, y, w, h) of at least one pixel, and their scores; an image without any light shows nobody."""
    if not image.any():
        return []
    with DefaultScope.overwrite_default_scope('mmdet'):
        found = _infer(detector, image, lighting).pred_instances.cpu()
    boxes = torch.cat([found.bboxes[:, :2], found.bboxes[:, 2:] - found.bboxes[:, :2]], dim=1)
    people = found.labels == detector.dataset_meta['classes'].index(PERSON)
    kept = people & (found.scores >= score_thr) & (boxes[:, 2:] >= 1).all(dim=1)
    return list(zip(boxes[kept].tolist(), found.scores[kept].tolist()))


def _infer(detector: BaseDetector, image: np.ndarray, lighting: str) -> DetDataSample:
    if not isinstance(detector.data_preprocessor, LightingDataPreprocessor):
        return inference_detector(detector, brightened(image, lighting))
    _, *steps = get_test_pipeline_cfg(detector.cfg)
    pipeline = Compose([dict(type='mmdet.LoadImageFromNDArray'), *steps])
    return inference_detector(detector, image, lambda data: pipeline(dict(data, lighting=lighting)))
