"""The frames that a test read, found again: a person's brightness, and pictures of it."""

import base64
import os.path as osp
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from exlpose_mm.datasets.exlpose import IMAGE_DIRS, PAIR_FILE
from exlpose_mm.datasets.files import ImageFinder
from exlpose_mm.datasets.transforms.darkening import darken_again
from exlpose_mm.datasets.transforms.loading import load_image
from exlpose_mm.evaluation.people import PersonResults
from exlpose_mm.joints import COLORS
from exlpose_mm.visualization import draw_poses, lift

PANEL = (240, 320)
"""Width and height of a picture in pixels."""
MARGIN = 0.2
QUALITY = 80


@dataclass(frozen=True)
class Panel:
    """A picture of a person.

    Attributes:
        caption (str): What it shows.
        source (str): JPEG as a data URI.
    """

    caption: str
    source: str


class Frames:
    """Finds and reads the frames of recorded people.

    Args:
        data_root (str, optional): Folder of the data set, if it is not where the test found it.
    """

    def __init__(self, data_root: str | None = None) -> None:
        self.data_root = data_root
        self.finder = lru_cache(maxsize=None)(_finder)
        self.load = lru_cache(maxsize=1)(_load)

    def key(self, people: PersonResults, index: int) -> tuple[str, str, int]:
        """Path, recipe of the darkness and image id: equal for people of one frame."""
        path = osp.join(self._root(people, index), str(people.image[index]))
        return path, str(people.simulated[index]), int(people.image_id[index])

    def _root(self, people: PersonResults, index: int) -> str:
        """Folder of the data set; ``''`` if the image's path is whole."""
        recorded = str(people.data_root[index])
        return recorded and (self.data_root or recorded)

    def read(self, people: PersonResults, index: int) -> np.ndarray:
        """The frame as the test saw it, (H, W, 3), uint8, BGR; not to be changed.

        Raises:
            ValueError: If it cannot be read (:class:`~exlpose_mm.datasets.transforms.loading.ImageError`) or made
                again.
        """
        return self.load(*self.key(people, index))

    def partner(self, people: PersonResults, index: int) -> np.ndarray | None:
        """The well-lit image of a dark frame; None if there is none."""
        path, recipe, _ = self.key(people, index)
        if recipe:
            return load_image(path)
        try:
            finder = self.finder(self._root(people, index) or osp.dirname(osp.dirname(path)))
            return load_image(finder.partner(path, 'well_lit'))
        except ValueError:  # no partner, as in ExLPose-OCN, or not on this disk
            return None

    def panels(self, people: PersonResults, index: int) -> list[Panel]:
        """The person in the dark frame, in the lifted one with its prediction, and in the light with its labels.

        A frame of good light comes twice: with the prediction, and with the labels.

        Raises:
            ValueError: As :meth:`read`.
        """
        frame, window = self.read(people, index), _window(people.box[index])
        predicted, labels = people.keypoints[index], people.labels[index]
        prediction = (predicted, np.ones(len(predicted)))
        truth = (labels[:, :2], labels[:, 2] > 0)
        if people.lighting[index] == 'well_lit':
            return [
                _panel('well lit, prediction', _cut(frame, window), people, window, prediction),
                _panel('well lit, labels', _cut(frame, window), people, window, truth),
            ]
        lifted, partner = _cut(frame, window, lift), self.partner(people, index)
        name, light = ('lifted, labels', lifted) if partner is None else ('well lit, labels', _cut(partner, window))
        return [
            Panel('dark', _data_uri(_cut(frame, window))),
            _panel('lifted, prediction', lifted, people, window, prediction),
            _panel(name, light, people, window, truth),
        ]


def mean_in_box(frame: np.ndarray, box: np.ndarray) -> float:
    """Mean of all channels of the part of a box (x, y, width, height) in the frame; nan if there is none."""
    x0, y0 = np.maximum(np.floor(box[:2]), 0).astype(int)
    x1, y1 = np.maximum(np.ceil(box[:2] + box[2:]), 0).astype(int)
    inside = frame[y0:y1, x0:x1]
    return float(inside.mean()) if inside.size else float('nan')


def _load(path: str, recipe: str, image_id: int) -> np.ndarray:
    frame = load_image(path)
    return darken_again(frame, recipe, image_id) if recipe else frame


def _finder(root: str) -> ImageFinder:
    pair_file = osp.join(root, PAIR_FILE)
    return ImageFinder([osp.join(root, folder) for folder in IMAGE_DIRS], pair_file if osp.isfile(pair_file) else None)


def _window(box: np.ndarray) -> tuple[int, int, int, int]:
    """Corners x0, y0, x1, y1 of a box with a margin, in the panel's proportions; it may leave the frame."""
    middle, sides = box[:2] + box[2:] / 2, np.maximum(box[2:], 4) * (1 + 2 * MARGIN)
    sides = np.array(PANEL) * max(sides / PANEL)
    x0, y0 = np.floor(middle - sides / 2).astype(int)
    x1, y1 = np.ceil(middle + sides / 2).astype(int)
    return x0, y0, x1, y1


def _cut(
    image: np.ndarray,
    window: tuple[int, int, int, int],
    prepare: Callable[[np.ndarray], np.ndarray] = np.ascontiguousarray,
) -> np.ndarray:
    """The window of an image as a panel, black where it leaves the image."""
    x0, y0, x1, y1 = window
    height, width = image.shape[:2]
    inside = image[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)]
    if not inside.size:
        return np.zeros((*PANEL[::-1], 3), np.uint8)
    padded = cv2.copyMakeBorder(
        prepare(inside), max(-y0, 0), max(y1 - height, 0), max(-x0, 0), max(x1 - width, 0), cv2.BORDER_CONSTANT
    )
    return cv2.resize(padded, PANEL, interpolation=cv2.INTER_AREA if x1 - x0 > PANEL[0] else cv2.INTER_LINEAR)


def _panel(
    caption: str,
    panel: np.ndarray,
    people: PersonResults,
    window: tuple[int, int, int, int],
    pose: tuple[np.ndarray, np.ndarray],
) -> Panel:
    """A panel with joints (K, 2), in pixels of the frame, where (K,) says that they are to be drawn."""
    keypoints, visible = pose
    scale = np.array(PANEL) / (window[2] - window[0], window[3] - window[1])
    sample = PoseDataSample()
    sample.gt_instances = InstanceData(
        keypoints=((keypoints - window[:2]) * scale)[None], keypoints_visible=np.float32(visible)[None]
    )
    return Panel(
        caption, _data_uri(draw_poses(panel, sample, _metainfo(people), ground_truth=True, line_width=2, boxes=False))
    )


def _metainfo(people: PersonResults) -> dict:
    """What MMPose's visualiser needs: the package's colours of left, right and middle."""
    colors = [COLORS.get(str(name).partition('_')[0], COLORS['middle']) for name in people.joints]
    return dict(
        keypoint_colors=colors,
        skeleton_links=people.links.tolist(),
        skeleton_link_colors=[colors[end] for _, end in people.links],
    )


def _data_uri(image: np.ndarray) -> str:
    _, jpeg = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return 'data:image/jpeg;base64,' + base64.b64encode(jpeg.tobytes()).decode()
