"""Values of one image: a dark one scaled to a common mean, its photons kept or thinned.

These come before the crop, which needs float32 to interpolate between 0, 1 and 2.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.datasets.transforms import TopdownAffine
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ScaleToMean(BaseTransform):
    """Scale every channel of the whole frame to a given mean (paper, section 5).

    The image is multiplied by ``255 * mean / (channel mean)``, in float32, not clipped. It
    belongs before cropping: the mean is the frame's, not the person's. A channel that is
    zero everywhere stays zero.

    Args:
        mean (float): Wanted mean as a share of 255. Defaults to 0.4, the paper's.
        crop (dict, optional): Config of the crop that follows, which is faster. Of a ``TopdownAffine`` only what it can
            sample is scaled and the rest is zero; it belongs after every step
            that changes the person's box. See :func:`sampled_region`. A :class:`~exlpose_mm.CPNCrop` scales what it
            has cut out, by the factor that is in ``gains`` until then: no step may come between.

    Raises:
        ValueError: If ``mean`` is not in (0, 1].
        KeyError: If ``crop`` is a ``TopdownAffine`` and the sample has no ``bbox_scale`` yet.
    """

    def __init__(self, mean: float = 0.4, crop: dict | None = None) -> None:
        if not 0 < mean <= 1:
            raise ValueError(f'ScaleToMean takes a mean in (0, 1], got {mean}')
        self.mean = mean
        self.crop = crop and TRANSFORMS.build(crop)

    def transform(self, results: dict) -> dict:
        image = results['img']
        gain = gain_to_mean(image, self.mean, results.get('lost_sums', {}).get(results.get('lighting'), 0.0))
        if self.crop is None:
            results['img'] = times(image, gain)
        elif getattr(self.crop, 'takes_gains', False):
            results.setdefault('gains', {})[results.get('views', (None,))[0]] = gain
        else:
            region = sampled_region(results, self.crop)
            results['img'] = np.zeros(image.shape, np.float32)
            results['img'][region] = times(image[region], gain)
        return results


def gain_to_mean(image: np.ndarray, mean: float, lost_sums: float | Sequence[float] = 0.0) -> np.ndarray:
    """Factors (3, ), float32, that bring the channels of a whole frame to a mean; 0 for one of zeros.

    Args:
        image (np.ndarray): (H, W, 3).
        mean (float): As a share of 255.
        lost_sums (sequence[float]): Sums (3, ) of the pixels that a crop cache made zero.
    """
    means = (channel_sums(image) + lost_sums) / max(1, image.shape[0] * image.shape[1])
    return (255 * mean / np.where(means > 0, means, np.inf)).astype(np.float32)


def channel_sums(image: np.ndarray) -> np.ndarray:
    """Sums (3, ) over all pixels, exact for whole numbers."""
    return np.array(cv2.sumElems(image)[:3]) if image.size else np.zeros(3)


def times(image: np.ndarray, gain: np.ndarray) -> np.ndarray:
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
    ``sigma * sqrt(s^2 - 1)`` pixels, which leaves the rest zero, and does nothing where s <= 1. Neither the paper nor
    its code does so. It belongs after every step that changes the person's box.

    Required keys: ``img``, (H, W, 3); ``bbox_center``, ``bbox_scale``, ``bbox_rotation`` (if
    any). Modified key: ``img``, float32 if blurred.

    Args:
        input_size (tuple[int]): (w, h) of the ``TopdownAffine``.
        sigma (float): Defaults to 0.5.

    Raises:
        ValueError: If ``sigma`` is not positive.
        KeyError: If the sample has no ``bbox_center`` yet.
    """

    def __init__(self, input_size: tuple[int, int], sigma: float = 0.5) -> None:
        if not sigma > 0:
            raise ValueError(f'AntiAlias takes a positive sigma, got {sigma}')
        self.crop, self.sigma = TopdownAffine(input_size), sigma

    def transform(self, results: dict) -> dict:
        image = results['img']
        region = sampled_region(results, self.crop)
        shrinks = affine_box(results, self.crop)[0] / self.crop.input_size[0]
        if shrinks > 1 and image[region].size:
            sigma = self.sigma * np.sqrt(shrinks**2 - 1)
            results['img'] = np.zeros(image.shape, np.float32)
            results['img'][region] = cv2.GaussianBlur(image[region].astype(np.float32), (0, 0), sigma)
        return results


def sampled_region(results: dict, crop: BaseTransform) -> tuple[slice, slice]:
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
    corners = crop.reach(results) if hasattr(crop, 'reach') else affine_reach(results, crop)
    return cut_at_frame(corners, results['img'])


def cut_at_frame(corners: np.ndarray, image: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the image between two corners ((x0, y0), (x1, y1))."""
    (left, top), (right, bottom) = np.clip(corners, 0, image.shape[1::-1]).tolist()
    return slice(top, bottom), slice(left, right)


def affine_reach(results: dict, crop: TopdownAffine, turns: np.ndarray | None = None) -> np.ndarray:
    """Corners ((x0, y0), (x1, y1)), in pixels of the image, of what a ``TopdownAffine`` can sample.

    Args:
        results (dict): See :func:`sampled_region`.
        crop (TopdownAffine): The crop.
        turns (np.ndarray, optional): Rotations (2, ) in radians, 0 to pi / 2, at which its
            upright width and height are taken. Defaults to the sample's ``bbox_rotation``.
    """
    box = affine_box(results, crop)
    if turns is None:
        turns = np.deg2rad(results.get('bbox_rotation', [0.0])[0]).repeat(2)
    extent = np.abs(np.cos(turns)) * box + np.abs(np.sin(turns)) * box[::-1]
    reach = extent / 2 + 2 + 2 * box[0] / crop.input_size[0]
    center = results['bbox_center'][0]
    return np.array([np.floor(center - reach), np.ceil(center + reach) + 1]).astype(int)


def affine_box(results: dict, crop: TopdownAffine) -> np.ndarray:
    """Width and height, in pixels of the image, of what becomes the network's input."""
    if 'bbox_scale' not in results:
        raise KeyError('there is no bbox_scale yet: this step belongs after GetBBoxCenterScale and RandomBBoxTransform')
    width, height = crop.input_size
    return crop._fix_aspect_ratio(results['bbox_scale'], aspect_ratio=width / height)[0]


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

    def __init__(
        self, keep: tuple[float, float] = (0.1, 0.5), prob: float = 0.5, person: bool = True, scale: float = 1.5
    ) -> None:
        if len(keep) != 2 or not 0 < keep[0] <= keep[1] <= 1 or not 0 <= prob <= 1 or not scale > 0:
            raise ValueError(
                'ThinPhotons takes keep = (low, high) with 0 < low <= high <= 1, a probability and '
                f'a positive scale, got keep={keep}, prob={prob}, scale={scale}'
            )
        self.keep, self.prob, self.person, self.scale = tuple(keep), prob, person, scale

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.dtype != np.uint8:
            raise ValueError(
                f'ThinPhotons counts photons of a uint8 image, got {image.dtype}: put it before ScaleToMean'
            )
        if np.random.rand() >= self.prob:
            return results
        thinned = image.copy()
        part = thinned[cut_at_frame(self.reach(results), image)]
        counts = part[part > 0]
        low, high = self.keep
        part[part > 0] = np.random.binomial(counts, np.random.uniform(low, high))
        results['img'] = thinned
        return results

    def reach(self, results: dict) -> np.ndarray:
        """Corners ((x0, y0), (x1, y1)) of what it changes."""
        if not self.person:
            return np.array([[0, 0], [np.iinfo(np.int32).max] * 2])
        return enlarged(results['bbox'][0], self.scale)


def enlarged(box: np.ndarray, scale: float) -> np.ndarray:
    """Corners ((x0, y0), (x1, y1)), whole numbers, of a box x1 y1 x2 y2 times a scale about its centre."""
    corners = np.reshape(box, (2, 2))
    centre, half = corners.mean(axis=0), scale * (corners[1] - corners[0]) / 2
    return np.rint([centre - half, centre + half]).astype(int)
