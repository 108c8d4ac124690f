"""Pipeline transforms for one lighting or for a pair of them.

A pair is ``img = [low_light, well_lit]`` with ``lighting = LIGHTINGS``. MMPose's geometric
transforms take such a list as frames of one scene and move both alike.
"""
from typing import Callable, List, Optional, Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import Compose
from mmpose.datasets.transforms import LoadImage, PackPoseInputs
from mmpose.registry import TRANSFORMS

from .lighting import LIGHTINGS, check_lighting


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

    Required keys: ``img_path`` (low light), ``well_lit_path``. Added keys: ``img``, a list
    of two (H, W, 3) uint8 BGR arrays; ``lighting``; ``img_shape``, ``ori_shape``.

    Args:
        **kwargs: As for :class:`mmpose.datasets.transforms.LoadImage`.

    Raises:
        ImageError: If an image cannot be read or the two differ in size; names the files.
    """

    def transform(self, results: dict) -> dict:
        paths = [results['img_path'], results['well_lit_path']]
        load = super().transform
        images = [load_image(path, load) for path in paths]
        shapes = [image.shape[:2] for image in images]
        if shapes[0] != shapes[1]:
            raise ImageError(f'the images of a pair differ in size (h, w): {paths[0]} {shapes[0]}, '
                             f'{paths[1]} {shapes[1]}')
        results.update(img=images, lighting=LIGHTINGS, img_shape=shapes[0], ori_shape=shapes[0])
        return results


@TRANSFORMS.register_module()
class OnLighting(BaseTransform):
    """Apply transforms to the image of one lighting only.

    On a pair, the wrapped transforms see a copy of the results with that lighting's image
    alone; only ``img`` comes back, so they must be photometric. On a single image they run
    if its lighting is this one, else nothing happens.

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
        lighting = _lighting_of(results)
        if isinstance(lighting, str):
            return self.transforms(results) if lighting == self.lighting else results
        index = lighting.index(self.lighting)
        before = results['img'][index]
        after = self.transforms({**results, 'img': before, 'lighting': self.lighting})['img']
        if after.shape[:2] != before.shape[:2]:
            raise ValueError(f'OnLighting takes photometric transforms, but {self.transforms} turned '
                             f'{before.shape} into {after.shape}')
        results['img'] = [after if i == index else image for i, image in enumerate(results['img'])]
        return results


@TRANSFORMS.register_module()
class ScaleToMean(BaseTransform):
    """Scale every channel of the whole frame to a given mean (paper, section 5).

    The image is multiplied by ``255 * mean / (channel mean)``, in float32, not clipped. It
    belongs before cropping: the mean is the frame's, not the person's. A channel that is
    zero everywhere stays zero.

    Args:
        mean (float): Wanted mean as a share of 255. Defaults to 0.4, the paper's.

    Raises:
        ValueError: If ``mean`` is not in (0, 1].
    """

    def __init__(self, mean: float = 0.4) -> None:
        if not 0 < mean <= 1:
            raise ValueError(f'ScaleToMean takes a mean in (0, 1], got {mean}')
        self.mean = mean

    def transform(self, results: dict) -> dict:
        image = results['img']
        channel_means = np.array(cv2.mean(image)[:3])
        gain = 255 * self.mean / np.where(channel_means > 0, channel_means, np.inf)
        results['img'] = image * gain.astype(np.float32)
        return results


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
    ``PoseDataSample``. ``lighting``, ``split``, ``well_lit_path`` and ``bbox_file`` join the
    meta keys.

    Args:
        meta_keys (Sequence[str]): Further meta keys.
        **kwargs: As for :class:`mmpose.datasets.transforms.PackPoseInputs`.
    """

    LIGHTING_KEYS = ('lighting', 'split', 'well_lit_path', 'bbox_file')

    def __init__(self, meta_keys: Sequence[str] = (), **kwargs) -> None:
        super().__init__(**kwargs)
        self.meta_keys = (*self.meta_keys, *self.LIGHTING_KEYS, *meta_keys)

    def transform(self, results: dict) -> dict:
        packed = super().transform(results)
        lighting = results.get('lighting')
        if isinstance(lighting, (tuple, list)):
            packed['inputs'] = dict(zip(lighting, packed['inputs']))
        return packed


def _lighting_of(results: dict):
    if 'lighting' not in results:
        raise KeyError(f'the sample {results.get("img_path")} carries no "lighting": put TagLighting, '
                       'LoadPairedImages or SimulateLowLight before OnLighting, or use ExLPoseDataset')
    return results['lighting']
