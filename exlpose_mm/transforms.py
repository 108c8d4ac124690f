"""Pipeline transforms for one lighting or for a pair of them.

A pair is ``img = [low_light, well_lit]`` with ``lighting = LIGHTINGS``. MMPose's geometric
transforms take such a list as frames of one scene and move both alike.
"""
from typing import Callable, List, Optional, Sequence, Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms import Compose
from mmpose.datasets.transforms import LoadImage, PackPoseInputs, TopdownAffine
from mmpose.registry import TRANSFORMS

from .lighting import LIGHTINGS, check_lighting


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
        lighting = _lighting_of(results)
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
            raise ValueError(f'{type(self).__name__} takes photometric transforms, but {self.transforms} turned '
                             f'{image.shape} into {after.shape}')
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
        lighting = _lighting_of(results)
        if lighting not in (LIGHTINGS, 'low_light'):
            raise ValueError(f'AddMomentumView takes a pair or a low-light image, got the lighting {lighting!r}')
        images, names = (results['img'], lighting) if lighting == LIGHTINGS else ([results['img']], [lighting])
        results.update(img=[*images, images[0]], lighting=(*names, 'low_light'))
        return results


@TRANSFORMS.register_module()
class OnStudent(OnLighting):
    """Apply transforms to the student's low-light image, not to the momentum teacher's.

    Args:
        transforms (list[dict]): The photometric steps.

    Raises:
        ValueError, KeyError: As :class:`OnLighting`.
    """

    def __init__(self, transforms: List[dict]) -> None:
        super().__init__('low_light', transforms)

    def _concerns(self, index: int, lighting: str) -> bool:
        return index == 0


@TRANSFORMS.register_module()
class ThinPhotons(BaseTransform):
    """Darken a dark image as less light would: each of its counts survives with some probability.

    A Poisson count thinned binomially is the Poisson count of less light, noise included; a
    frame multiplied by a factor keeps its signal-to-noise ratio instead. A DN is taken for a
    photon, though demosaicing and gain make it something else. With ``person`` only the box
    of the person loses light, as in DA-LLPose's person-specific darkening, from which the
    defaults are (Ai et al., ECCV 2024: box times 1.5, probability 0.5, factor 0.1 to 0.5).

    Required keys: ``img``, (H, W, 3) uint8, not yet scaled, and with ``person`` also ``bbox``.
    It draws from numpy's global state.

    Args:
        keep (tuple[float]): Range of the probability, drawn uniformly.
        prob (float): Of thinning at all.
        person (bool): Thin only the person's box.
        scale (float): The box is enlarged by this factor.

    Raises:
        ValueError: If not 0 < low <= high <= 1, ``prob`` is no probability, ``scale`` is not
            positive, or an image is not uint8.
    """

    def __init__(self, keep: Tuple[float, float] = (0.1, 0.5), prob: float = 0.5, person: bool = True,
                 scale: float = 1.5) -> None:
        if len(keep) != 2 or not 0 < keep[0] <= keep[1] <= 1 or not 0 <= prob <= 1 or not scale > 0:
            raise ValueError('ThinPhotons takes keep = (low, high) with 0 < low <= high <= 1, a probability and '
                             f'a positive scale, got keep={keep}, prob={prob}, scale={scale}')
        self.keep, self.prob, self.person, self.scale = tuple(keep), prob, person, scale

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.dtype != np.uint8:
            raise ValueError(f'ThinPhotons counts photons of a uint8 image, got {image.dtype}: put it before '
                             'ScaleToMean')
        if np.random.rand() >= self.prob:
            return results
        thinned = image.copy()
        part = thinned[self._region(results)]
        counts = part[part > 0]
        part[part > 0] = np.random.binomial(counts, np.random.uniform(*self.keep))
        results['img'] = thinned
        return results

    def _region(self, results: dict) -> Tuple[slice, slice]:
        if not self.person:
            return np.s_[:, :]
        box = np.reshape(results['bbox'][0], (2, 2))
        centre, reach = box.mean(axis=0), self.scale * (box[1] - box[0]) / 2
        (left, top), (right, bottom) = (np.rint(corner).astype(int).clip(0) for corner in (centre - reach, centre + reach))
        return slice(top, bottom), slice(left, right)


@TRANSFORMS.register_module()
class ScaleToMean(BaseTransform):
    """Scale every channel of the whole frame to a given mean (paper, section 5).

    The image is multiplied by ``255 * mean / (channel mean)``, in float32, not clipped. It
    belongs before cropping: the mean is the frame's, not the person's. A channel that is
    zero everywhere stays zero.

    Args:
        mean (float): Wanted mean as a share of 255. Defaults to 0.4, the paper's.
        crop (dict, optional): Config of the ``TopdownAffine`` or
            :class:`~exlpose_mm.CPNCrop` that follows. Then only what it can sample is scaled and
            the rest is zero, which is faster; it belongs after every step that changes the
            person's box. See :func:`sampled_region`.

    Raises:
        ValueError: If ``mean`` is not in (0, 1].
        KeyError: If ``crop`` is a ``TopdownAffine`` and the sample has no ``bbox_scale`` yet.
    """

    def __init__(self, mean: float = 0.4, crop: Optional[dict] = None) -> None:
        if not 0 < mean <= 1:
            raise ValueError(f'ScaleToMean takes a mean in (0, 1], got {mean}')
        self.mean = mean
        self.crop = crop and TRANSFORMS.build(crop)

    def transform(self, results: dict) -> dict:
        image = results['img']
        channel_means = np.array(cv2.mean(image)[:3])
        gain = (255 * self.mean / np.where(channel_means > 0, channel_means, np.inf)).astype(np.float32)
        if self.crop is None:
            results['img'] = _times(image, gain)
        else:
            region = sampled_region(results, self.crop)
            results['img'] = np.zeros(image.shape, np.float32)
            results['img'][region] = _times(image[region], gain)
        return results


def _times(image: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """An image (H, W, 3) times a gain (3, ), float32; by table if it is uint8, seven times as fast."""
    if image.dtype != np.uint8 or not image.size:
        return image * gain
    return cv2.LUT(image, (np.arange(256, dtype=np.float32)[:, None] * gain)[None])


@TRANSFORMS.register_module()
class AntiAlias(BaseTransform):
    """Average the pixels that a following ``TopdownAffine`` would skip.

    It samples bilinearly: where the crop shrinks s times, only some 2 x 2 of s x s pixels reach
    the network. Well lit, the others tell little more; in the dark they hold most of the
    photons. This blurs the region that will be sampled with a Gaussian of
    ``sigma * sqrt(s^2 - 1)`` pixels, which leaves the rest zero, and does nothing where s <= 1. Neither the paper nor its
    code does so. It belongs after every step that changes the person's box.

    Required keys: ``img``, (H, W, 3); ``bbox_center``, ``bbox_scale``, ``bbox_rotation`` (if
    any). Modified key: ``img``, float32 if blurred.

    Args:
        input_size (tuple[int]): (w, h) of the ``TopdownAffine``.
        sigma (float): Defaults to 0.5.

    Raises:
        ValueError: If ``sigma`` is not positive.
        KeyError: If the sample has no ``bbox_center`` yet.
    """

    def __init__(self, input_size: Tuple[int, int], sigma: float = 0.5) -> None:
        if not sigma > 0:
            raise ValueError(f'AntiAlias takes a positive sigma, got {sigma}')
        self.crop, self.sigma = TopdownAffine(input_size), sigma

    def transform(self, results: dict) -> dict:
        image = results['img']
        region = sampled_region(results, self.crop)
        shrinks = _affine_box(results, self.crop)[0] / self.crop.input_size[0]
        if shrinks > 1 and image[region].size:
            sigma = self.sigma * np.sqrt(shrinks**2 - 1)
            results['img'] = np.zeros(image.shape, np.float32)
            results['img'][region] = cv2.GaussianBlur(image[region].astype(np.float32), (0, 0), sigma)
        return results


def sampled_region(results: dict, crop: BaseTransform) -> Tuple[slice, slice]:
    """Rows and columns of the image that a crop can sample, cut at the frame.

    Args:
        results (dict): With ``img`` and what the crop needs: ``bbox``, or for ``TopdownAffine``
            ``bbox_center`` and ``bbox_scale`` (1, 2) in pixels and, if any, ``bbox_rotation``
            (1, ) in degrees. Its region has a margin of two network pixels.
        crop (BaseTransform): A ``TopdownAffine``, or a transform with a method ``reach`` that
            takes results and returns corners ((x0, y0), (x1, y1)).

    Raises:
        KeyError: If the person's box is not there yet.
    """
    corners = crop.reach(results) if hasattr(crop, 'reach') else _affine_reach(results, crop)
    (left, top), (right, bottom) = np.clip(corners, 0, results['img'].shape[1::-1])
    return slice(top, bottom), slice(left, right)


def _affine_reach(results: dict, crop: TopdownAffine) -> np.ndarray:
    box = _affine_box(results, crop)
    turn = np.deg2rad(results.get('bbox_rotation', [0.])[0])
    rotation = np.abs([[np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    reach = rotation @ box / 2 + 2 + 2 * box[0] / crop.input_size[0]
    center = results['bbox_center'][0]
    return np.array([np.floor(center - reach), np.ceil(center + reach) + 1]).astype(int)


def _affine_box(results: dict, crop: TopdownAffine) -> np.ndarray:
    """Width and height, in pixels of the image, of what becomes the network's input."""
    if 'bbox_scale' not in results:
        raise KeyError('there is no bbox_scale yet: this step belongs after GetBBoxCenterScale and '
                       'RandomBBoxTransform')
    width, height = crop.input_size
    return crop._fix_aspect_ratio(results['bbox_scale'], aspect_ratio=width / height)[0]


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
    ``PoseDataSample``. A third image is :data:`MOMENTUM_VIEW`. ``lighting``, ``labelled``,
    ``split``, ``well_lit_path`` and ``bbox_file`` join the meta keys.

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

    LIGHTING_KEYS = ('lighting', 'labelled', 'split', 'well_lit_path', 'bbox_file')

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
        lighting = results.get('lighting')
        if isinstance(lighting, (tuple, list)):
            packed['inputs'] = dict(zip(_input_names(lighting), packed['inputs']))
        elif self.inputs:
            packed['inputs'] = {_lighting_of(results): packed['inputs']}
        if self.inputs:
            packed['inputs'] = {name: packed['inputs'].get(name) for name in self.inputs}
        return packed


def _input_names(lighting: Sequence[str]) -> List[str]:
    """Of images of these lightings: the second low-light one is the momentum teacher's."""
    return [MOMENTUM_VIEW if name in lighting[:i] else name for i, name in enumerate(lighting)]


def _lighting_of(results: dict):
    if 'lighting' not in results:
        raise KeyError(f'the sample {results.get("img_path")} carries no "lighting": put TagLighting, '
                       'LoadPairedImages or SimulateLowLight before OnLighting, or use ExLPoseDataset')
    return results['lighting']
