"""A low-light camera: what an 8-bit sensor would have seen in almost no light.

Order of operations and units: 8-bit image -> linear light (0 to 1, inverse tone curve) ->
attenuation to expected DN -> inverse colour matrix and white balance -> RGGB mosaic ->
photo-electrons -> shot, read and row noise, colour bias (electrons) -> gain (DN per electron) ->
black level and quantisation -> demosaic -> white balance -> colour matrix -> clip -> round to
8 bits. DN: digital number, 0 to 255. The output stays linear, as the paper's camera gives it: no
tone curve is put back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

LEVELS = dict(normal=8.0, hard=2.0, extreme=0.6)
"""Mean of the dark frame in DN, per level. Ours, not the paper's: ExLPose names its
levels by the gain of the well-lit image. :data:`PRESETS` are its camera."""

TONE_CURVES = ('srgb', 'linear')
DEMOSAICING = ('bilinear', 'malvar')

_CODES = np.arange(256) / 255
_TO_LINEAR = dict(
    srgb=np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(np.float32),
    linear=_CODES.astype(np.float32),
)


def _eighths(kernel: Sequence[Sequence[float]]) -> np.ndarray:
    return np.array(kernel, np.float32) / 8


_SQUARE = np.array([[1, 1, 1], [1, 4, 1], [1, 1, 1]], np.float32)
_CROSS = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32)
_BILINEAR_BGR = (_SQUARE, _CROSS, _SQUARE)
_ALONG = _eighths([[0, 0, 0.5, 0, 0], [0, -1, 0, -1, 0], [-1, 4, 5, 4, -1], [0, -1, 0, -1, 0], [0, 0, 0.5, 0, 0]])
# Green at red and blue; a colour at green, whose pixels lie in the same row or column; the other
# of red and blue at one of them.
_MALVAR = (
    _eighths([[0, 0, -1, 0, 0], [0, 0, 2, 0, 0], [-1, 2, 4, 2, -1], [0, 0, 2, 0, 0], [0, 0, -1, 0, 0]]),
    _ALONG,
    np.ascontiguousarray(_ALONG.T),
    _eighths([[0, 0, -1.5, 0, 0], [0, 2, 0, 2, 0], [-1.5, 0, 6, 0, -1.5], [0, 2, 0, 2, 0], [0, 0, -1.5, 0, 0]]),
)


@dataclass(frozen=True)
class Camera:
    """A sensor behind a neutral-density filter.

    Args:
        mean (float, optional): Expected mean of the dark frame before noise, in DN. Together
            with the frame's own linear mean it sets how much light the filter passes.
        light_ratio (float, optional): How many times less light than in the well-lit image,
            in place of ``mean``: 100 is the paper's filter at equal exposure and gain.
        gain (float): System gain K in DN per photo-electron, at 0 dB.
        analog_gain (float): Further gain in dB; it multiplies K by 10^(dB / 20).
        read_noise (float): Standard deviation of the read noise, in electrons.
        read_shape (float, optional): Shape of a Tukey-lambda distribution of the read noise,
            above -0.5; heavy tails below 0.14. Defaults to None: Gaussian.
        row_noise (float): Standard deviation of the offset that all pixels of a sensor
            row share, in electrons. It makes the horizontal banding of real frames.
        colour_bias (tuple[float]): Mean of the read noise of red, green and blue pixels, in
            electrons, as dark current and an imperfect black level leave it.
        black_level (float): DN added before the quantisation and subtracted after it.
        adc_bits (int, optional): Bits of the quantisation, 1 to 16; their range is 0 to 255
            DN. What lies below 0 is lost there. Defaults to None: no quantisation of its own.
        white_balance (tuple[float]): Gains of red, green and blue after quantisation. The
            scene is divided by them, so that its colours stay.
        tone_curve (str): Of the well-lit image: ``'srgb'`` or ``'linear'``.
        colour_matrix (tuple[tuple[float]]): 3 x 3, from balanced sensor colours to the
            output's, red, green, blue. The scene goes through its inverse.
        demosaicing (str): ``'bilinear'`` or ``'malvar'``; see :func:`demosaic`.

    Raises:
        ValueError: If a value lies outside of its physical range.
    """

    mean: float | None = LEVELS['hard']
    gain: float = 0.5
    read_noise: float = 0.6
    row_noise: float = 0.12
    light_ratio: float | None = None
    analog_gain: float = 0.0
    read_shape: float | None = None
    colour_bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    black_level: float = 0.0
    adc_bits: int | None = None
    white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)
    tone_curve: str = 'srgb'
    colour_matrix: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    demosaicing: str = 'bilinear'

    def __post_init__(self) -> None:
        if (self.mean is None) == (self.light_ratio is None):
            raise ValueError(
                f'give either mean or light_ratio and set the other to None; got mean '
                f'{self.mean} and light_ratio {self.light_ratio}'
            )
        for name, (low, high, unit) in _RANGES.items():
            value = getattr(self, name)
            values = value if isinstance(value, (tuple, list)) else [value]
            if value is None and name in _OPTIONAL:
                continue
            if not all(isinstance(v, (int, float)) and low <= v <= high for v in values):
                raise ValueError(f'{name} must lie in [{low:g}, {high:g}] {unit}, got {value}')
        for name in ('colour_bias', 'white_balance'):
            if len(getattr(self, name)) != 3:
                raise ValueError(f'{name} is one value each for red, green and blue, got {getattr(self, name)}')
        for name, known in (('tone_curve', TONE_CURVES), ('demosaicing', DEMOSAICING)):
            if getattr(self, name) not in known:
                raise ValueError(f'unknown {name} {getattr(self, name)!r}; use one of {known}')
        matrix = np.asarray(self.colour_matrix)
        if matrix.shape != (3, 3) or not abs(np.linalg.det(matrix)) > 1e-3:
            raise ValueError(f'colour_matrix must be 3 x 3 and invertible, got {self.colour_matrix}')

    @property
    def system_gain(self) -> float:
        """DN per electron at the analogue gain."""
        return self.gain * 10 ** (self.analog_gain / 20)

    def expose(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Take the dark partner of a well-lit image.

        Args:
            image (np.ndarray): (H, W, 3), uint8, BGR, coded by ``tone_curve``, 0 to 255.
            rng (np.random.Generator): Source of the noise; the same state gives the
                same pixels.

        Returns:
            np.ndarray: (H, W, 3), uint8, BGR, linear.

        Raises:
            ValueError: If ``image`` is not such an array.
        """
        check_image(image)
        linear = _TO_LINEAR[self.tone_curve][image]
        if self.light_ratio is not None:
            light = 255 / self.light_ratio
        elif self.mean is not None:
            light = self.mean / max(float(linear.mean()), 1e-6)
        return self.develop(linear * light, rng)

    def develop(self, expected: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Measure a scene and make a picture of it.

        Args:
            expected (np.ndarray): (H, W, 3), float32, BGR: the picture without noise, in DN.
            rng (np.random.Generator): Source of the noise.

        Returns:
            np.ndarray: (H, W, 3), uint8, BGR.
        """
        # From balanced sensor colours to the picture's, both BGR.
        colours = np.array(self.colour_matrix, np.float32)[::-1, ::-1] * np.array(self.white_balance[::-1], np.float32)
        light = mosaic(_transform(expected, np.linalg.inv(colours)))
        electrons = light.clip(0) / self.system_gain
        raw = self._quantise(self.system_gain * self._measure(electrons, rng))
        picture = _transform(demosaic(raw, self.demosaicing), colours)
        return (picture + 0.5).clip(0, 255).astype(np.uint8)

    def _measure(self, electrons: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Shot, read and row noise and colour bias on expected electrons (H, W), in electrons."""
        shot = rng.poisson(electrons).astype(np.float32)
        read = self._read_noise(electrons.shape, rng) * self.read_noise
        row = rng.standard_normal((len(electrons), 1), dtype=np.float32) * self.row_noise
        measured = shot + read + row
        if any(self.colour_bias):
            measured += mosaic_of(self.colour_bias, (*measured.shape, 3))
        return measured

    def _read_noise(self, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """Noise of unit variance."""
        if self.read_shape is None:
            return rng.standard_normal(shape, dtype=np.float32)
        uniform = rng.random(shape, dtype=np.float32).clip(1e-7)  # from [0, 1), and 0 has no finite quantile
        return tukey_lambda(uniform, self.read_shape)

    def _quantise(self, raw: np.ndarray) -> np.ndarray:
        if self.adc_bits is None:
            return raw
        step = 255 / (2**self.adc_bits - 1)
        codes = np.floor((raw + self.black_level) / step + 0.5)
        return codes.clip(0, 2**self.adc_bits - 1) * np.float32(step) - self.black_level


_OPTIONAL = ('mean', 'light_ratio', 'read_shape', 'adc_bits')
_RANGES = dict(
    mean=(1e-6, 255, 'DN'),
    light_ratio=(1, 1e6, ''),
    gain=(1e-9, 255, 'DN per electron'),
    analog_gain=(-20, 60, 'dB'),
    read_noise=(0, 1e4, 'electrons'),
    row_noise=(0, 1e4, 'electrons'),
    read_shape=(-0.49, 2, ''),
    colour_bias=(-1e4, 1e4, 'electrons'),
    black_level=(0, 128, 'DN'),
    adc_bits=(1, 16, 'bits'),
    white_balance=(0.1, 10, ''),
)


def check_image(image: np.ndarray) -> None:
    """Raise ``ValueError`` unless ``image`` is (H, W, 3) uint8 with pixels in it."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f'the camera needs an 8-bit colour image of shape (H, W, 3), got {image.dtype} of shape {image.shape}'
        )


def mosaic(image: np.ndarray) -> np.ndarray:
    """One colour a pixel, RGGB: BGR (H, W, 3) to sensor (H, W)."""
    raw = image[..., 1].copy()
    raw[0::2, 0::2] = image[0::2, 0::2, 2]
    raw[1::2, 1::2] = image[1::2, 1::2, 0]
    return raw


def mosaic_of(colour: tuple[float, float, float], shape: tuple[int, ...]) -> np.ndarray:
    """Each sensor pixel's share of a colour (red, green, blue): (H, W) float32."""
    return mosaic(np.broadcast_to(np.array(colour[::-1], np.float32), shape))


def tukey_lambda(uniform: np.ndarray, shape: float) -> np.ndarray:
    """Quantiles of the Tukey-lambda distribution of unit variance, at 0 < ``uniform`` < 1.

    Args:
        uniform (np.ndarray): Any shape, float32.
        shape (float): Above -0.5, where the variance is finite.
    """
    if abs(shape) < 1e-4:  # the logistic distribution is the limit
        return np.log(uniform / (1 - uniform)) * np.float32(math.sqrt(3) / math.pi)
    symmetric = math.gamma(shape + 1) ** 2 / math.gamma(2 * shape + 2)
    variance = 2 / shape**2 * (1 / (1 + 2 * shape) - symmetric)
    return (uniform**shape - (1 - uniform) ** shape) * np.float32(1 / (shape * math.sqrt(variance)))


def _transform(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Multiply every pixel by a 3 x 3 matrix."""
    return image if (matrix == np.eye(3)).all() else cv2.transform(image, matrix.astype(np.float32))


def demosaic(raw: np.ndarray, method: str = 'bilinear') -> np.ndarray:
    """Colours of an RGGB sensor: (H, W) float32 to BGR (H, W, 3) float32, neither clipped nor rounded.

    A pixel keeps the colour it measured. ``'bilinear'``: the others are the mean of the pixels
    of that colour among its 3x3 neighbours, so that the border needs no special case.
    ``'malvar'``: to this comes the gradient of the pixel's own colour (Malvar, He & Cutler,
    ICASSP 2004), which makes the noise of the colours correlate; what falls below 0 beside
    edges is cut off, as ExLPose's camera does.
    """
    return _malvar(raw) if method == 'malvar' else _bilinear(raw)


def _bilinear(raw: np.ndarray) -> np.ndarray:
    colours = []
    for mask, kernel in zip(_bayer_masks(raw.shape), _BILINEAR_BGR):
        summed = cv2.filter2D(mask * raw, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        weight = cv2.filter2D(mask, -1, kernel, borderType=cv2.BORDER_CONSTANT)
        colours.append(summed / np.maximum(weight, 1))
    return np.stack(colours, axis=-1)


def _malvar(raw: np.ndarray) -> np.ndarray:
    # Mirrored without the edge, so that the pattern goes on.
    green, along, across, diagonal = (
        cv2.filter2D(raw, -1, kernel, borderType=cv2.BORDER_REFLECT_101) for kernel in _MALVAR
    )
    red, blue = diagonal.copy(), diagonal
    red[0::2, 1::2], red[1::2, 0::2] = along[0::2, 1::2], across[1::2, 0::2]
    blue[1::2, 0::2], blue[0::2, 1::2] = along[1::2, 0::2], across[0::2, 1::2]
    for colour, (row, column) in ((red, (0, 0)), (green, (0, 1)), (green, (1, 0)), (blue, (1, 1))):
        colour[row::2, column::2] = raw[row::2, column::2]
    return np.stack([blue, green, red], axis=-1).clip(0)


def _bayer_masks(shape: tuple[int, int]) -> np.ndarray:
    """Which pixel measures which colour: (3, H, W) float32 of zeros and ones, BGR."""
    masks = np.zeros((3, *shape), np.float32)
    masks[0, 1::2, 1::2] = 1
    masks[1, 0::2, 1::2] = 1
    masks[1, 1::2, 0::2] = 1
    masks[2, 0::2, 0::2] = 1
    return masks


_EXLPOSE = Camera(
    mean=0.77,
    analog_gain=3.4,
    gain=0.404,
    read_noise=2.04,
    row_noise=0.536,
    colour_bias=(-2.69, -2.69, -2.69),
    adc_bits=8,
    demosaicing='malvar',
)
_HARD = replace(
    _EXLPOSE,
    white_balance=(0.987606, 0.841504, 1.63812),
    colour_matrix=((1.51858, 0.0900713, -0.608654), (-0.505875, 1.78088, -0.275004), (-0.0310865, -0.598239, 1.62933)),
)
_EXTREME = replace(
    _EXLPOSE,
    white_balance=(0.949203, 0.855567, 1.39614),
    colour_matrix=((1.52358, 0.0805403, -0.604122), (-0.525036, 1.75079, -0.225751), (-0.0328823, -0.579946, 1.61283)),
)
_ELD = Camera(mean=None, light_ratio=100, adc_bits=14, read_shape=0.14)

PRESETS: dict[str, Camera] = {
    'exlpose-normal': replace(_HARD, mean=1.99, analog_gain=5.65),
    'exlpose-hard': replace(_HARD, mean=0.77, analog_gain=8.39),
    'exlpose-extreme': replace(_EXTREME, mean=0.386, analog_gain=10.48),
    'a7m3': replace(_ELD, gain=4 * 255 / 16383, read_noise=1.21, row_noise=0.288),
    'ricoh3': replace(_ELD, gain=8 * 255 / 16383, read_noise=0.836, row_noise=0.207),
}
"""Cameras of the paper's data.

``exlpose-*``: sensor, white balance and colour matrix are measured on two real frames, one of the
hard and one of the extreme level, both at 3.4 dB: whole numbers through Malvar's demosaicing and
the matrix reproduce about 99 % of a frame's values (:mod:`exlpose_mm.camera.raw_recovery`), and the
sensor is fitted to the statistics of both. Light and bias are known up to a common
shift only, since the darkest parts were taken to be without light. The normal level has the hard
one's colours.

Light and gain of a level are extrapolated from file names. A dark file has the gain g of its scene
and the bright one g + 20 log10(N / 100) dB at the same exposure, behind a filter of 1/100, so that
N of ``exp<N>`` is the light ratio. The light of the two frames times N is 289 DN in the geometric
mean; N is 145, 376 and 748 in the geometric mean over the images of each level in the official test
annotations, and g 5.65, 8.39 and 10.48 dB in the mean. That noise in electrons does not depend on
the gain is an assumption.

``a7m3``, ``ricoh3``: a guess without frames of these cameras. ELD's sensor model of a Sony A7S2
(Wei et al., CVPR 2020: log sigma_read = 0.462 log K + 0.566, log sigma_row = 0.528 log K - 0.592,
in 14-bit DN, the first the scale of a Tukey-lambda distribution, here of shape 0.14) at K = 4 and
8, and the lowest light ratio that ELD trains with.
"""


def camera_of(level: str, **overrides: Any) -> Camera:
    """The camera of a level of :data:`LEVELS` or a preset of :data:`PRESETS`.

    Args:
        level (str): Its name.
        **overrides: Parameters of :class:`Camera` to change.

    Raises:
        ValueError: If the level is unknown or a value lies outside of its range.
    """
    if level in PRESETS:
        return replace(PRESETS[level], **overrides)
    if level not in LEVELS:
        raise ValueError(f'unknown darkness level {level!r}; use one of {(*LEVELS, *PRESETS)}')
    return Camera(**{**overrides, 'mean': LEVELS[level]})


def draw_camera(rng: np.random.Generator, **overrides: Any) -> Camera:
    """A random camera like ExLPose's, for training.

    The light is 289 DN / N with N log-uniform over 100 to 1600, and the analogue gain uniform over
    0 to 19.1 dB, the ranges of ExLPose's test files; see :data:`PRESETS`. Read and row noise vary by the factors
    exp(N(0, 0.263)) and exp(N(0, 0.294)), ELD's spread of a real sensor around its model.
    """
    drawn = dict(
        mean=289 / float(np.exp(rng.uniform(np.log(100), np.log(1600)))),
        analog_gain=float(rng.uniform(0, 19.1)),
        read_noise=_HARD.read_noise * float(np.exp(rng.normal(0, 0.263))),
        row_noise=_HARD.row_noise * float(np.exp(rng.normal(0, 0.294))),
    )
    return replace(_HARD, **{**drawn, **overrides})


def darken(image: np.ndarray, level: str, rng: np.random.Generator) -> np.ndarray:
    """Expose an image (H, W, 3), uint8, BGR, with the camera of a level; see :func:`camera_of`."""
    return camera_of(level).expose(image, rng)
