"""Pipeline transforms for one lighting or for a pair of them.

A pair is ``img = [low_light, well_lit]`` with ``lighting = LIGHTINGS``. MMPose's geometric
transforms take such a list as frames of one scene and move both alike.
"""
import os.path as osp
from typing import Callable, List, Optional, Sequence, Union

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import Compose
from mmpose.datasets.transforms import LoadImage, PackPoseInputs
from mmpose.registry import TRANSFORMS

from .lighting import LIGHTINGS, check_lighting
from .pairing import image_size
from .photometry import channel_sums
from .transfer import PinnableSample

MOMENTUM_VIEW = 'momentum_view'
"""Input of the momentum teacher: the dark image without what :class:`OnStudent` does to it."""


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

    Args:
        **kwargs: As for :class:`mmpose.datasets.transforms.LoadImage`, without ``color_type``.

    Raises:
        ImageError: If a file cannot be read or has more than 8 bits a channel, or ``img`` was not loaded for a
            data set and is not (H, W, 3) uint8.
    """

    def __init__(self, **kwargs) -> None:
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
        results.update(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2])
        return results


def check_pixels(image: np.ndarray) -> None:
    """Raise :class:`ImageError` unless an array is an image (H, W, 3) of uint8."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(f'an image is an array (H, W, 3) of uint8, 0 to 255, BGR; got {image.shape} of {image.dtype}: '
                         'bring it into this form, or name the file')


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

    def __init__(self, **kwargs) -> None:
        super().__init__(color_type=UNTURNED, **kwargs)

    def transform(self, results: dict) -> dict:
        paths = [results['img_path'], results['well_lit_path']]
        load = super().transform
        images = results.get('img') or [load_image(path, load) for path in paths]
        shapes = [image.shape[:2] for image in images]
        if shapes[0] != shapes[1]:
            raise ImageError(f'the images of a pair differ in size (h, w): {paths[0]} {shapes[0]}, '
                             f'{paths[1]} {shapes[1]}')
        results.update(img=images, lighting=LIGHTINGS, img_shape=shapes[0], ori_shape=shapes[0])
        return results


@TRANSFORMS.register_module()
class OnLighting(BaseTransform):
    """Apply transforms to the images of one lighting only.

    On a pair, the wrapped transforms see a copy of the results with that lighting's image
    alone; only ``img`` comes back, so they must be photometric. They run once for each such
    image, so that a view of the momentum teacher gets the same steps. On a single image they
    run if its lighting is this one, else nothing happens.

    Args:
        lighting (str): One of :data:`~exlpose_mm.lighting.LIGHTINGS`.
        transforms (list[dict]): The photometric steps.

    Raises:
        ValueError: If the lighting is unknown, or a wrapped transform changes the image
            size.
        KeyError: If a sample carries no ``lighting``.
    """

    def __init__(self, lighting: str, transforms: List[dict]) -> None:
        self.lighting = check_lighting(lighting)
        self.transforms = Compose([TRANSFORMS.build(cfg) for cfg in transforms])

    def transform(self, results: dict) -> dict:
        lighting = lighting_of(results)
        if isinstance(lighting, str):
            return self.transforms(results) if lighting == self.lighting else results
        results['img'] = [self._apply(results, image) if self._concerns(i, name) else image
                          for i, (image, name) in enumerate(zip(results['img'], lighting))]
        return results

    def _concerns(self, index: int, lighting: str) -> bool:
        return lighting == self.lighting

    def _apply(self, results: dict, image: np.ndarray) -> np.ndarray:
        after = self.transforms({**results, 'img': image, 'lighting': self.lighting})['img']
        if after.shape[:2] != image.shape[:2]:
            raise ValueError(f'{type(self).__name__} takes photometric transforms, but {self.transforms} '
                             f'turned {image.shape} into {after.shape}')
        return after


@TRANSFORMS.register_module()
class AddMomentumView(BaseTransform):
    """Keep a second copy of the low-light image, for the momentum teacher.

    It belongs behind loading. What :class:`OnStudent` wraps later does not reach it.
    Modified keys: ``img``, ``[low, well]`` of a pair becoming ``[low, well, low]``, and a single
    low-light image ``[low, low]``; and ``lighting`` likewise.

    Raises:
        ValueError: If the sample is neither.
    """

    def transform(self, results: dict) -> dict:
        lighting = lighting_of(results)
        if lighting not in (LIGHTINGS, 'low_light'):
            raise ValueError(f'AddMomentumView takes a pair or a low-light image, got the lighting {lighting!r}')
        images, names = (results['img'], lighting) if lighting == LIGHTINGS else ([results['img']], [lighting])
        results.update(img=[*images, images[0]], lighting=(*names, 'low_light'))
        return results


@TRANSFORMS.register_module()
class OnStudent(OnLighting):
    """Apply transforms to the student's low-light image, not to the momentum teacher's.

    Until something was done to one of them the two are one array, which is copied here, so that
    transforms may work in place.

    Args:
        transforms (list[dict]): The photometric steps.

    Raises:
        ValueError, KeyError: As :class:`OnLighting`.
    """

    def __init__(self, transforms: List[dict]) -> None:
        super().__init__('low_light', transforms)

    def _concerns(self, index: int, lighting: str) -> bool:
        return index == 0

    def _apply(self, results: dict, image: np.ndarray) -> np.ndarray:
        return super()._apply(results, image.copy() if results['img'][-1] is image else image)


@TRANSFORMS.register_module()
class TagLighting(BaseTransform):
    """Say under which lighting a person runs, if nothing said so before.

    The low-light branch sees a person brightened with the whole frame, which ends with a mean of 0.4; the well-lit
    branch sees the person as is, and was trained on people of about that brightness. So a person whose box is darker
    than any of the well-lit training data runs under the lighting whose branch sees the box closer to it: one on
    whom a lamp shines in a black frame is well lit, one beside a lamp is not.

    Added key: ``lighting`` and, if ``lighting`` is given here, ``split``. Read are ``img`` and, if there is one, the
    first of ``bbox``, x1 y1 x2 y2 in pixels; without it the person fills the frame.

    Args:
        lighting (str, optional): The lighting of every image. By default it is read from each.
        threshold (float): In DN, of the mean of all channels in the box, from which on it is well lit. Defaults
            to 50: no person of LSPET's photographs is darker, nearly all of three real night photographs is.

    Raises:
        ValueError: If the lighting is unknown.
    """

    BRIGHTNESS = 0.4 * 255
    """Mean that the low-light branch gets."""

    def __init__(self, lighting: Optional[str] = None, threshold: float = 50.0) -> None:
        self.lighting = lighting and check_lighting(lighting)
        self.threshold = threshold

    def transform(self, results: dict) -> dict:
        if 'lighting' in results:
            return results
        if self.lighting is not None:
            results.update(lighting=self.lighting,
                           split='WL' if self.lighting == 'well_lit' else 'LL-A')
        else:
            results['lighting'] = self._read(results['img'], results.get('bbox'))
        return results

    def _read(self, image: np.ndarray, boxes: Optional[np.ndarray]) -> str:
        frame = _mean(image)
        person = frame if boxes is None else _mean_in(image, boxes[0], frame)
        if person >= self.threshold:
            return 'well_lit'
        as_is, brightened = (abs(np.log(max(seen, 1e-6) / self.BRIGHTNESS)) for seen in (
            person, person * self.BRIGHTNESS / max(frame, 1e-6)))
        return 'well_lit' if as_is < brightened else 'low_light'


def _mean_in(image: np.ndarray, box: np.ndarray, otherwise: float) -> float:
    """Mean of all channels in a box, x1 y1 x2 y2, as far as it lies in the frame."""
    (left, top), (right, bottom) = np.clip(np.reshape(box, (2, 2)), 0, image.shape[1::-1]).round().astype(int)
    region = image[top:bottom, left:right]
    return _mean(region) if region.size else otherwise


def _mean(image: np.ndarray) -> float:
    return float(channel_sums(image).sum() / image.size)


@TRANSFORMS.register_module()
class PackPairedInputs(PackPoseInputs):
    """Pack a pair as one sample with two inputs, or a single image as MMPose does.

    Returns, for a pair, ``inputs={'low_light': (C, H, W), 'well_lit': (C, H, W)}`` and one
    ``PoseDataSample`` that can be pinned. A third image is :data:`MOMENTUM_VIEW`. ``lighting``, ``labelled``,
    ``split``, ``well_lit_path``, ``bbox_file`` and ``simulated`` join the meta keys.

    Args:
        inputs (Sequence[str]): For training on single images together with pairs or with images
            of the other lighting: every sample gets a dict of these inputs, None where it has
            no such image, so that they can be in one batch. Defaults to (): as above.
        labelled (Sequence[str]): Lightings whose labels :class:`~exlpose_mm.DualTeacherHead`
            may use. Defaults to both; () is an unlabelled data set.
        meta_keys (Sequence[str]): Further meta keys.
        **kwargs: As for :class:`mmpose.datasets.transforms.PackPoseInputs`.

    Raises:
        ValueError: If ``inputs`` or ``labelled`` names an unknown one.
    """

    LIGHTING_KEYS = ('lighting', 'labelled', 'split', 'well_lit_path', 'bbox_file', 'simulated')

    def __init__(self, inputs: Sequence[str] = (), labelled: Sequence[str] = LIGHTINGS,
                 meta_keys: Sequence[str] = (), **kwargs) -> None:
        super().__init__(**kwargs)
        unknown = [name for name in inputs if name not in (*LIGHTINGS, MOMENTUM_VIEW)]
        if unknown:
            raise ValueError(f'unknown inputs {unknown}; choose from {(*LIGHTINGS, MOMENTUM_VIEW)}')
        self.inputs = tuple(inputs)
        self.labelled = tuple(check_lighting(name) for name in labelled)
        self.meta_keys = (*self.meta_keys, *self.LIGHTING_KEYS, *meta_keys)

    def transform(self, results: dict) -> dict:
        packed = super().transform({**results, 'labelled': self.labelled})
        sample = packed['data_samples']
        packed['data_samples'] = PinnableSample(metainfo=sample.metainfo, **dict(sample.items()))
        lighting = results.get('lighting')
        if isinstance(lighting, (tuple, list)):
            packed['inputs'] = dict(zip(_input_names(lighting), packed['inputs']))
        elif self.inputs:
            packed['inputs'] = {lighting_of(results): packed['inputs']}
        if self.inputs:
            packed['inputs'] = {name: packed['inputs'].get(name) for name in self.inputs}
        return packed


def _input_names(lighting: Sequence[str]) -> List[str]:
    """Of images of these lightings: the second low-light one is the momentum teacher's."""
    return [MOMENTUM_VIEW if name in lighting[:i] else name for i, name in enumerate(lighting)]


def lighting_of(results: dict) -> Union[str, Sequence[str]]:
    """The lighting of a sample's image, or those of its images.

    Raises:
        KeyError: If it carries none.
    """
    if 'lighting' not in results:
        raise KeyError(f'the sample {results.get("img_path")} carries no "lighting": put TagLighting, '
                       'LoadPairedImages or SimulateLowLight before what needs it, or use ExLPoseDataset')
    return results['lighting']
