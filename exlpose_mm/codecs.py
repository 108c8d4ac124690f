"""Heatmap codecs: CPN's, as ExLPose trains and tests it, one for logits, and one of many people an image."""

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from mmpose.codecs import AssociativeEmbedding, MSRAHeatmap
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS
from scipy.special import softmax

PEAK = 255.0  # value of a target heatmap at its maximum
PAD = 10  # zero cells around a map before it is blurred for decoding
BLUR = 2 * PAD + 1
SHIFT = 0.25  # cells from the maximum towards the second-highest position


@cache
def blurred_impulses(length: int, kernel_size: int) -> np.ndarray:
    """An impulse at each of so many places, blurred as OpenCV does, one a row."""
    return cv2.GaussianBlur(np.eye(length, dtype=np.float32), (kernel_size, 1), 0)


@KEYPOINT_CODECS.register_module()
class CPNHeatmap(BaseKeypointCodec):
    """Targets of GlobalNet and RefineNet, and CPN's decoding of one map.

    Legend: K: joints, L: global levels, coarse to fine, (W, H): heatmap
    size in cells, (w, h): input size in pixels. Joint coordinates are in
    input pixels; the codec takes one person at a time.

    Encoded:

    - heatmaps (list[np.ndarray]): L + 1 float32 maps of shape (K, H, W) with
      values in [0, 255], the last one for RefineNet. The target of a joint
      is a one in the joint's cell, blurred by ``cv2.GaussianBlur`` and scaled
      to a maximum of 255. The maps of the global levels are zero for a joint
      that is not *visible* (CPN's loss then asks for an empty map); the last
      one is zero for a joint without a label only. Joints outside the map
      count as unlabelled.
    - keypoint_weights (np.ndarray): (1, K), 1 for a labelled joint inside
      the map. They are RefineNet's weights: the global levels have none,
      since their loss counts every joint.

    Near the border the blur mirrors the map, and its maximum can lie beside
    the joint. Like the official code, and unlike MMPose's ``MegviiHeatmap``,
    the map's maximum is scaled to 255, not the joint's cell.

    Args:
        input_size (tuple[int, int]): (w, h). Defaults to (192, 256).
        heatmap_size (tuple[int, int]): (W, H). Defaults to (48, 64).
        kernel_sizes (Sequence[int]): Blur of the L global levels, in cells,
            odd. Defaults to (15, 11, 9, 7).
        refine_kernel_size (int): Blur of RefineNet's target, in cells, odd.
            Defaults to 7.
        draw (bool): False leaves the maps to :class:`~exlpose_mm.CPNHead`, which draws them on its
            device. Then ``keypoint_cells`` (1, K, 4) are encoded in their place, some 200 bytes in place
            of 860,000: the cell's x and y, whether the joint is visible, and whether it is labelled.
            Defaults to True.

    Raises:
        ValueError: If a size is not positive or a kernel size not odd.
    """

    auxiliary_encode_keys = {'keypoints_visible_weights'}
    label_mapping_table = dict(keypoint_weights='keypoint_weights', keypoint_cells='keypoint_cells')
    field_mapping_table = dict(heatmaps='heatmaps')

    def __init__(
        self,
        input_size: tuple[int, int] = (192, 256),
        heatmap_size: tuple[int, int] = (48, 64),
        kernel_sizes: Sequence[int] = (15, 11, 9, 7),
        refine_kernel_size: int = 7,
        draw: bool = True,
    ) -> None:
        super().__init__()
        sizes = dict(input_size=input_size, heatmap_size=heatmap_size)
        for name, size in sizes.items():
            if len(size) != 2 or min(size) <= 0:
                raise ValueError(f'{name} must be a positive (width, height), got {size}')
        for kernel_size in (*kernel_sizes, refine_kernel_size):
            if kernel_size <= 0 or kernel_size % 2 == 0:
                raise ValueError(
                    'Kernel sizes must be odd and positive, got '
                    f'kernel_sizes={tuple(kernel_sizes)} and '
                    f'refine_kernel_size={refine_kernel_size}'
                )
        self.input_size = tuple(input_size)
        self.heatmap_size = tuple(heatmap_size)
        self.kernel_sizes = tuple(kernel_sizes)
        self.refine_kernel_size = refine_kernel_size
        self.draw = draw
        self.scale_factor = np.divide(input_size, heatmap_size)

    def encode(
        self,
        keypoints: np.ndarray,
        keypoints_visible: np.ndarray | None = None,
        keypoints_visible_weights: np.ndarray | None = None,
    ) -> dict:
        """Encode the joints of one person.

        Args:
            keypoints (np.ndarray): (1, K, 2), input pixels.
            keypoints_visible (np.ndarray, optional): (1, K), 1 for a labelled
                joint (v > 0). Defaults to all labelled.
            keypoints_visible_weights (np.ndarray, optional): (1, K), 1 for a
                visible joint (v > 1). Defaults to all that are labelled.

        Returns:
            dict: ``heatmaps`` (or ``keypoint_cells``) and ``keypoint_weights``, see the class.

        Raises:
            ValueError: If ``keypoints`` holds another number of people.
        """
        if len(keypoints) != 1:
            raise ValueError(f'CPNHeatmap encodes one person at a time, got keypoints of shape {keypoints.shape}')
        cells = np.floor(keypoints[0] / self.scale_factor).astype(int)
        labelled = ((cells >= 0) & (cells < self.heatmap_size)).all(axis=-1)
        if keypoints_visible is not None:
            labelled &= keypoints_visible[0] > 0.5
        visible = labelled
        if keypoints_visible_weights is not None:
            visible = labelled & (keypoints_visible_weights[0] > 0.5)

        weights = labelled[None].astype(np.float32)
        if not self.draw:
            cells = cells.clip(0, np.array(self.heatmap_size) - 1)
            joints = np.column_stack([cells, visible, labelled]).astype(np.int32)
            return dict(keypoint_cells=joints[None], keypoint_weights=weights)
        heatmaps = [self._draw(cells, visible, size) for size in self.kernel_sizes]
        heatmaps.append(self._draw(cells, labelled, self.refine_kernel_size))
        return dict(heatmaps=heatmaps, keypoint_weights=weights)

    def _draw(self, cells: np.ndarray, drawn: np.ndarray, kernel_size: int) -> np.ndarray:
        """Heatmaps (K, H, W) of the joints in ``drawn``; the rest is zero."""
        width, height = self.heatmap_size
        heatmaps = np.zeros((len(cells), height, width), np.float32)
        x, y = cells[drawn].T
        # A blurred impulse is the product of one along x and one along y.
        blurred = (
            blurred_impulses(height, kernel_size)[y][:, :, None] * blurred_impulses(width, kernel_size)[x][:, None, :]
        )
        heatmaps[drawn] = blurred * (PEAK / blurred.max(axis=(1, 2), keepdims=True))
        return heatmaps

    def decode(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the joints of one person, as CPN's test code does.

        Each map is padded with 10 zeros on every side and blurred by a 21x21
        Gaussian. The joint lies 0.25 cells from the maximum of the result
        towards its second-highest cell, but inside the map.

        The official code first divides each map by its maximum. That moves
        no maximum and is left out, but for a map without a positive value it
        divides by zero or turns the map upside down: such a map is raised to
        a minimum of zero here. A constant one decodes to the top left cell.

        Args:
            encoded (np.ndarray): (K, H, W), RefineNet's maps; with a flip
                test, the mean of both.

        Returns:
            tuple[np.ndarray, np.ndarray]: Joints (1, K, 2) in input pixels,
            and scores (1, K): the map's value at the joint's cell / 255 + 0.5.
        """
        num_joints, height, width = encoded.shape
        lowest = encoded.min(axis=(1, 2), keepdims=True)
        highest = encoded.max(axis=(1, 2), keepdims=True)
        blurred = _blur(encoded - np.where(highest > 0, 0, lowest))

        peak = _pop_maximum(blurred)
        step = _pop_maximum(blurred) - peak
        # the step is between two cells: either zero or at least 1 long
        length = np.linalg.norm(step, axis=-1, keepdims=True).clip(min=1)
        last = np.array([width, height]) - 1
        position = (peak + SHIFT * step / length).clip(0, last)

        x, y = peak.clip(0, last).T
        scores = encoded[np.arange(num_joints), y, x] / PEAK + 0.5
        keypoints = (position + 0.5) * self.scale_factor
        return keypoints[None].astype(np.float32), scores[None]


def _blur(heatmaps: np.ndarray) -> np.ndarray:
    """Pad (K, H, W) maps with zeros and blur them in double precision."""
    padded = np.pad(heatmaps.astype(np.float64), ((0, 0), (PAD, PAD), (PAD, PAD)))
    return np.stack([cv2.GaussianBlur(m, (BLUR, BLUR), 0) for m in padded])


def _pop_maximum(padded: np.ndarray) -> np.ndarray:
    """Cells (K, 2), x first, of the maxima, counted without the padding.

    The maxima are set to 0 in ``padded``.
    """
    joints = np.arange(len(padded))
    flat = padded.reshape(len(padded), -1)
    index = flat.argmax(axis=1)
    flat[joints, index] = 0
    y, x = np.unravel_index(index, padded.shape[1:])
    return np.stack([x, y], axis=-1) - PAD


@KEYPOINT_CODECS.register_module()
class SoftmaxHeatmap(MSRAHeatmap):
    """MMPose's Gaussian heatmaps for a head that predicts logits over positions.

    Encodes like :class:`mmpose.codecs.MSRAHeatmap`; decodes the softmax over a map's cells. A joint's score is the
    highest probability in units of that of a perfect map, ``1 / (2 * pi * sigma**2)``, so that a threshold on it means
    what it means for MMPose's heads. Goes with :class:`~exlpose_mm.models.losses.HeatmapCrossEntropyLoss`.
    """

    def decode(self, encoded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Joints of one person from logits.

        Args:
            encoded (np.ndarray): Logits (K, H, W).

        Returns:
            tuple: Joints (1, K, 2) in input pixels, scores (1, K) in (0, 1].
        """
        keypoints, scores = super().decode(softmax(encoded.astype(np.float32), axis=(1, 2)))
        return keypoints, (scores * (2 * np.pi * self.sigma**2)).clip(max=1)


@KEYPOINT_CODECS.register_module()
class AEHeatmap(AssociativeEmbedding):
    """MMPose's maps and places of the joints of all people, which reach :class:`~exlpose_mm.AEHead`'s loss.

    MMPose 1.x does not say under which names they are to be packed.
    """

    field_mapping_table = dict(heatmaps='heatmaps')
    label_mapping_table = dict(keypoint_indices='keypoint_indices')
