"""Pipeline transforms for one lighting or for a pair of them.

A pair is ``img = [low_light, well_lit]`` with ``lighting = LIGHTINGS``. MMPose's geometric
transforms take such a list as frames of one scene and move all alike. What each of a list is,
:func:`~exlpose_mm.views.views_of` says.
"""

import numpy as np
from mmcv.transforms import BaseTransform, Compose
from mmpose.registry import TRANSFORMS

from exlpose_mm.datasets.transforms.photometry import channel_sums
from exlpose_mm.lighting import LIGHTINGS, check_lighting
from exlpose_mm.splits import row_of_lighting
from exlpose_mm.views import MOMENTUM_VIEW, lighting_of, lighting_of_view, views_of


@TRANSFORMS.register_module()
class OnLighting(BaseTransform):
    """Apply transforms to the images of one lighting only.

    Of a list of images, the wrapped transforms see a copy of the results with that lighting's image
    alone; only ``img`` comes back, and ``gains`` of :class:`~exlpose_mm.ScaleToMean`, so they must be photometric.
    They run once for each such image, so that a view of the momentum teacher gets the same steps. On a single
    image they run if its lighting is this one, else nothing happens.

    Args:
        lighting (str): One of :data:`~exlpose_mm.lighting.LIGHTINGS`.
        transforms (list[dict]): The photometric steps.

    Raises:
        ValueError: If the lighting is unknown, or a wrapped transform changes the image
            size.
        KeyError: If a sample carries no ``lighting``.
    """

    def __init__(self, lighting: str, transforms: list[dict]) -> None:
        self.lighting = check_lighting(lighting)
        self.transforms = Compose([TRANSFORMS.build(cfg) for cfg in transforms])

    def transform(self, results: dict) -> dict:
        views = views_of(results)
        if not isinstance(results['img'], list):
            return self.transforms(results) if self._concerns(*views) else results
        results.setdefault('gains', {})  # which the copies share
        results['img'] = [
            self._apply(results, image, view) if self._concerns(view) else image
            for image, view in zip(results['img'], views)
        ]
        return results

    def _concerns(self, view: str) -> bool:
        return lighting_of_view(view) == self.lighting

    def _apply(self, results: dict, image: np.ndarray, view: str) -> np.ndarray:
        after = self.transforms({**results, 'img': image, 'lighting': self.lighting, 'views': (view,)})['img']
        if after.shape[:2] != image.shape[:2]:
            raise ValueError(
                f'{type(self).__name__} takes photometric transforms, but {self.transforms} '
                f'turned {image.shape} into {after.shape}'
            )
        return after


@TRANSFORMS.register_module()
class AddMomentumView(BaseTransform):
    """Keep a second copy of the low-light image, for the momentum teacher.

    It belongs behind loading. What :class:`OnStudent` wraps later does not reach it.
    Modified key: ``img``, ``[low, well]`` of a pair becoming ``[low, well, low]``, and a single
    low-light image ``[low, low]``. Added key: ``views``, their names.

    Raises:
        ValueError: If the sample is neither.
    """

    def transform(self, results: dict) -> dict:
        lighting = lighting_of(results)
        if lighting not in (LIGHTINGS, 'low_light'):
            raise ValueError(f'AddMomentumView takes a pair or a low-light image, got the lighting {lighting!r}')
        images = results['img'] if lighting == LIGHTINGS else [results['img']]
        results.update(img=[*images, images[0]], views=(*views_of(results), MOMENTUM_VIEW))
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

    def __init__(self, transforms: list[dict]) -> None:
        super().__init__('low_light', transforms)

    def _concerns(self, view: str) -> bool:
        return view == self.lighting

    def _apply(self, results: dict, image: np.ndarray, view: str) -> np.ndarray:
        return super()._apply(results, image.copy() if results['img'][-1] is image else image, view)


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

    def __init__(self, lighting: str | None = None, threshold: float = 50.0) -> None:
        self.lighting = lighting and check_lighting(lighting)
        self.threshold = threshold

    def transform(self, results: dict) -> dict:
        if 'lighting' in results:
            return results
        if self.lighting is not None:
            results.update(lighting=self.lighting, split=row_of_lighting(self.lighting))
        else:
            results['lighting'] = self._read(results['img'], results.get('bbox'))
        return results

    def _read(self, image: np.ndarray, boxes: np.ndarray | None) -> str:
        frame = _mean(image)
        person = frame if boxes is None else _mean_in(image, boxes[0], frame)
        if person >= self.threshold:
            return 'well_lit'
        as_is, brightened = (
            abs(np.log(max(seen, 1e-6) / self.BRIGHTNESS))
            for seen in (person, person * self.BRIGHTNESS / max(frame, 1e-6))
        )
        return 'well_lit' if as_is < brightened else 'low_light'


def _mean_in(image: np.ndarray, box: np.ndarray, otherwise: float) -> float:
    """Mean of all channels in a box, x1 y1 x2 y2, as far as it lies in the frame."""
    (left, top), (right, bottom) = np.clip(np.reshape(box, (2, 2)), 0, image.shape[1::-1]).round().astype(int)
    region = image[top:bottom, left:right]
    return _mean(region) if region.size else otherwise


def _mean(image: np.ndarray) -> float:
    return float(channel_sums(image).sum() / image.size)
