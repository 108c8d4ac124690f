"""Classical low-light enhancement, for the baselines that enhance and then estimate."""

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS


def guided_filter(image: np.ndarray, radius: int, eps: float) -> np.ndarray:
    """Smooth an image but for its own strong edges (He et al., 2010, guided by itself).

    Args:
        image (np.ndarray): (H, W) float32.
        radius (int): Half the side of the window, in pixels.
        eps (float): Variances well below this are smoothed away, in squared units of
            ``image``.

    Returns:
        np.ndarray: (H, W) float32.
    """

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (2 * radius + 1, 2 * radius + 1))

    local_mean = mean(image)
    variance = mean(image * image) - local_mean * local_mean
    slope = variance / (variance + eps)
    return mean(slope) * image + mean(local_mean - slope * local_mean)


def lime(image: np.ndarray, gamma: float = 0.8) -> np.ndarray:
    """Divide a frame by its smoothed illumination, in the way of LIME (Guo et al., 2017).

    The illumination is the maximum over the channels. Deviations from LIME: a guided filter,
    relative to the brightest pixel of the frame, smooths it in place of LIME's optimisation,
    and the result is not denoised.

    Args:
        image (np.ndarray): (H, W, 3) uint8.
        gamma (float): Exponent of the illumination. 1 removes it altogether, 0 nothing.

    Returns:
        np.ndarray: (H, W, 3) uint8.
    """
    brightest = cv2.max(cv2.max(image[..., 0], image[..., 1]), image[..., 2]).astype(np.float32) / 255
    peak = max(float(brightest.max()), 1 / 255)
    smooth = guided_filter(brightest, radius=15, eps=(0.1 * peak) ** 2)
    gain = cv2.pow(np.maximum(smooth, 1 / 255), -gamma)
    return cv2.multiply(image, cv2.merge([gain] * 3), dtype=cv2.CV_8U)


def gamma_correction(image: np.ndarray, gamma: float = 0.4) -> np.ndarray:
    """Raise every sample, as a share of 255, to the power of ``gamma``; uint8 to uint8."""
    table = 255 * np.linspace(0, 1, 256) ** gamma
    return cv2.LUT(image, table.round().astype(np.uint8))


def equalize_luminance(image: np.ndarray) -> np.ndarray:
    """Equalise the histogram of the luminance of a BGR frame; uint8 to uint8."""
    luminance, *chroma = cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb))
    merged = cv2.merge([cv2.equalizeHist(luminance), *chroma])
    return cv2.cvtColor(merged, cv2.COLOR_YCrCb2BGR)


METHODS = dict(lime=lime, gamma=gamma_correction, histogram=equalize_luminance)


@TRANSFORMS.register_module()
class LowLightEnhance(BaseTransform):
    """Brighten a whole low-light frame by a classical method.

    It stands in place of :class:`~exlpose_mm.ScaleToMean`, inside of
    ``OnLighting('low_light', ...)``. Modified key: ``img``, (H, W, 3) uint8 BGR before and
    after. A frame of ExLPose, 1919 x 1198, takes about 60 ms (lime), 5 ms (gamma) or 13 ms
    (histogram) on one core.

    Args:
        method (str): ``'lime'`` (:func:`lime`), ``'gamma'`` (:func:`gamma_correction`) or
            ``'histogram'`` (:func:`equalize_luminance`).
        gamma (float, optional): Exponent of the first two; by default their own.

    Raises:
        ValueError: If the method is unknown, ``gamma`` is not positive or not a parameter of
            the method, or a frame is not uint8 with three channels.
    """

    def __init__(self, method: str = 'lime', gamma: float | None = None) -> None:
        if method not in METHODS:
            raise ValueError(f'unknown enhancement method {method!r}; use one of {tuple(METHODS)}')
        if gamma is not None and (method == 'histogram' or gamma <= 0):
            raise ValueError(f'gamma is a positive exponent of lime and gamma, got {gamma} for {method}')
        self.method = method
        self.kwargs = {} if gamma is None else dict(gamma=gamma)

    def transform(self, results: dict) -> dict:
        image = results['img']
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(
                f'LowLightEnhance takes (H, W, 3) uint8 frames, got {image.shape} '
                f'{image.dtype}: put it before cropping and in place of ScaleToMean'
            )
        results['img'] = METHODS[self.method](image, **self.kwargs)
        return results
