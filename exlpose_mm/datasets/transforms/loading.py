"""Loading one image, or a pair."""

import os.path as osp
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from mmpose.datasets.transforms import LoadImage
from mmpose.registry import TRANSFORMS

from exlpose_mm.datasets.files import check_annotated_size, image_size
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.lighting import LIGHTINGS


class ImageError(ValueError):
    """An image cannot be read, or does not fit its partner."""


UNTURNED = 'color_ignore_orientation'
"""mmcv's flag for the pixels of a file as they lie in it, which labels are of, whatever its EXIF data say."""


def load_image(path: str, load: Callable[[dict], dict] = LoadImage(color_type=UNTURNED).transform) -> np.ndarray:
    """Load an image, by default as labels see it: not turned by the orientation in its EXIF data.

    Args:
        path (str): The file.
        load (Callable): A transform that takes and returns MMPose's ``results``.

    Returns:
        np.ndarray: By default (H, W, 3), uint8, BGR.

    Raises:
        ImageError: If that fails for any reason; names the file.
    """
    try:
        return load(dict(img_path=path))['img']
    except Exception as error:
        raise ImageError(f'cannot read image {path}: {error}') from error


def load_8_bits(path: str, load: Callable[[dict], dict] = LoadImage().transform) -> np.ndarray:
    """As :func:`load_image`, but turned upright by default, and a file of more than 8 bits a channel is refused."""
    try:
        if osp.isfile(path):
            image_size(path)
    except ValueError as error:
        raise ImageError(f'cannot read image {path}: {error}') from error
    return load_image(path, load)


@TRANSFORMS.register_module()
class LoadLabelledImage(LoadImage):
    """Load an image so that its pixels are where its labels say.

    Labels are of the pixels as they lie in the file, so the images of a data set, whose samples have an
    ``img_id``, are not turned by the orientation in their EXIF data, as MMPose's ``LoadImage`` would. Images without
    labels, as from ``MMPoseInferencer``, are turned upright. An image that is in ``img`` already stays.

    A labelled image has the annotated size, if the annotation file of its ``dataset``, which MMPose gives with a
    sample, tells it.

    Args:
        **kwargs: As for :class:`mmpose.datasets.transforms.LoadImage`, without ``color_type``.

    Raises:
        DatasetError: If an image of a data set has not the annotated size, or is a TIFF file that OpenCV turns.
        ImageError: If a file cannot be read or has more than 8 bits a channel, or ``img`` was not loaded for a
            data set and is not (H, W, 3) uint8.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(color_type='color', **kwargs)
        self.unturned = LoadImage(color_type=UNTURNED, **kwargs)

    def transform(self, results: dict) -> dict:
        labelled = 'img_id' in results
        if 'img' in results:
            if not labelled:
                check_pixels(results['img'])
            return super().transform(results)
        load = self.unturned.transform if labelled else super().transform
        image = load_8_bits(results['img_path'], load)
        if labelled:
            size = image.shape[1::-1]
            check_annotated_size(results['img_path'], _annotated_size(results) or size, size)
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results


def _annotated_size(results: dict) -> tuple[int, int] | None:
    """Width and height of a sample's image, if there is a file of its data set that tells them."""
    file = str(getattr(results.get('dataset'), 'ann_file', ''))
    sizes = _annotated_sizes(file) if file.endswith('.json') else {}
    width, height = sizes.get(results['img_id'], (None, None))
    return (width, height) if width and height else None


@cache
def _annotated_sizes(ann_file: str) -> dict[int, tuple[int | None, int | None]]:
    """By image id; none of a file that is not COCO's. MMPose keeps nothing of it but the people."""
    content = read_annotations(ann_file)
    images = content.get('images', ()) if isinstance(content, dict) else ()
    return {image['id']: (image.get('width'), image.get('height')) for image in images}


def check_pixels(image: np.ndarray) -> None:
    """Raise :class:`ImageError` unless an array is an image (H, W, 3) of uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            f'an image is an array (H, W, 3) of uint8, 0 to 255, BGR; got {image.shape} of {image.dtype}: '
            'bring it into this form, or name the file'
        )


@TRANSFORMS.register_module()
class LoadPairedImages(LoadImage):
    """Load a low-light image and its well-lit partner.

    Required keys: ``img_path`` (low light), ``well_lit_path``, or ``img``, a list of both that a
    crop cache has loaded. Added keys: ``img``, a list
    of two (H, W, 3) uint8 BGR arrays; ``lighting``; ``img_shape``, ``ori_shape``.

    Args:
        **kwargs: As for :class:`LoadLabelledImage`, which it loads as.

    Raises:
        ImageError: If an image cannot be read or the two differ in size; names the files.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(color_type=UNTURNED, **kwargs)

    def transform(self, results: dict) -> dict:
        paths = [results['img_path'], results['well_lit_path']]
        load = super().transform
        images = results.get('img') or [load_image(path, load) for path in paths]
        shapes = [image.shape[:2] for image in images]
        if shapes[0] != shapes[1]:
            raise ImageError(
                f'the images of a pair differ in size (h, w): {paths[0]} {shapes[0]}, {paths[1]} {shapes[1]}'
            )
        results.update(img=images, lighting=LIGHTINGS, img_shape=shapes[0], ori_shape=shapes[0])
        return results
