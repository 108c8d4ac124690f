"""Pipeline transforms for one lighting or for a pair of them.

A pair is ``img = [low_light, well_lit]`` with ``lighting = LIGHTINGS``. MMPose's geometric
transforms take such a list as frames of one scene and move both alike.
"""
from typing import Callable, List, Optional, Sequence, Union

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import Compose
from mmpose.datasets.transforms import LoadImage, PackPoseInputs
from mmpose.registry import TRANSFORMS

from .lighting import LIGHTINGS, check_lighting
from .transfer import PinnableSample


MOMENTUM_VIEW = 'momentum_view'
"""Input of the momentum teacher: the dark image without what :class:`OnStudent` does to it."""


class ImageError(ValueError):
    """An image cannot be read, or does not fit its partner."""


def load_image(path: str, load: Callable[[dict], dict] = LoadImage().transform) -> np.ndarray:
    """Load an image by a transform that takes and returns MMPose's ``results``.

    Raises:
        ImageError: If that fails for any reason; names the file.
    """
    try:
        return load(dict(img_path=path))['img']
    except Exception as error:
        raise ImageError(f'cannot read image {path}: {error}') from error


@TRANSFORMS.register_module()
class LoadPairedImages(LoadImage):
    """Load a low-light image and its well-lit partner.

    Required keys: ``img_path`` (low light), ``well_lit_path``, or ``img``, a list of both that a
    crop cache has loaded. Added keys: ``img``, a list
    of two (H, W, 3) uint8 BGR arrays; ``lighting``; ``img_shape``, ``ori_shape``.

    Args:
        **kwargs: As for :class:`mmpose.datasets.transforms.LoadImage`.

    Raises:
        ImageError: If an image cannot be read or the two differ in size; names the files.
    """

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
    """Say under which lighting an image runs, if nothing said so before.

    Added key: ``lighting`` and, if ``lighting`` is given here, ``split``.

    Args:
        lighting (str, optional): The lighting of every image. By default it is read from
            the whole frame: low light if the mean of all channels is below ``threshold``.
        threshold (float): In DN. Defaults to 16: above the brightest low-light level,
            below any image that a person would call lit.

    Raises:
        ValueError: If the lighting is unknown.
    """

    def __init__(self, lighting: Optional[str] = None, threshold: float = 16.0) -> None:
        self.lighting = lighting and check_lighting(lighting)
        self.threshold = threshold

    def transform(self, results: dict) -> dict:
        if 'lighting' in results:
            return results
        if self.lighting is not None:
            results.update(lighting=self.lighting,
                           split='WL' if self.lighting == 'well_lit' else 'LL-A')
        else:
            dark = results['img'].mean() < self.threshold
            results['lighting'] = 'low_light' if dark else 'well_lit'
        return results


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
