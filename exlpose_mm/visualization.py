"""What a person looks at: a dark image lifted, its well-lit partner beside it, skeletons."""

import os.path as osp
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from mmengine.structures import InstanceData
from mmpose.apis import inference_topdown
from mmpose.datasets.datasets import BaseCocoStyleDataset
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import VISUALIZERS
from mmpose.structures import PoseDataSample, merge_data_samples
from mmpose.visualization import PoseLocalVisualizer

from exlpose_mm.datasets.files import is_turned
from exlpose_mm.datasets.transforms.loading import load_image


def lift(image: np.ndarray) -> np.ndarray:
    """Make a dark image visible, for the eye only.

    Blurs away the worst noise, the wider the fewer photons there are (sigma 1 to 3 pixels),
    scales every channel to the same mean, maps the 99.5th percentile to white and applies a
    display gamma of 2.2.

    Args:
        image (np.ndarray): (H, W, 3), uint8 or of any scale. All zero stays all zero.

    Returns:
        np.ndarray: (H, W, 3), uint8.
    """
    sigma = np.clip(1 / np.sqrt(max(image.mean(), 1e-6)), 1, 3)
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)
    means = smooth.mean(axis=(0, 1))
    smooth *= means.mean() / np.where(means > 0, means, np.inf)
    white = max(np.percentile(smooth, 99.5), 1e-6)
    return np.rint(255 * (smooth / white).clip(0, 1) ** (1 / 2.2)).astype(np.uint8)


class _SkeletonVisualizer(PoseLocalVisualizer):
    """MMPose's, for any NumPy: it gives a radius as an array, which OpenCV's backend takes for a number."""

    def draw_circles(self, center: np.ndarray, radius: np.ndarray, **kwargs: Any) -> None:
        super().draw_circles(center, radius.item() if self.backend == 'opencv' else radius, **kwargs)


def draw_poses(
    image: np.ndarray,
    sample: PoseDataSample,
    metainfo: dict,
    ground_truth: bool = False,
    line_width: int | None = None,
    boxes: bool = True,
) -> np.ndarray:
    """Draw the predicted or the labelled people of one image.

    Args:
        image (np.ndarray): (H, W, 3), uint8, BGR.
        sample (PoseDataSample): With ``pred_instances`` or ``gt_instances``.
        metainfo (dict): The data set's.
        ground_truth (bool): Draw labels, of those joints that have one, instead of predictions.
        line_width (int, optional): In pixels. Defaults to 1/200 of the longer side.
        boxes (bool): Draw the people's boxes too. Defaults to True.

    Returns:
        np.ndarray: (H, W, 3), uint8, BGR.
    """
    line_width = line_width or max(1, round(max(image.shape[:2]) / 200))
    visualizer = _SkeletonVisualizer(radius=line_width, line_width=line_width)
    visualizer.set_dataset_meta(metainfo)
    drawn = visualizer.add_datasample(
        'poses',
        image[..., ::-1],
        sample,
        draw_gt=ground_truth,
        draw_pred=not ground_truth,
        draw_bbox=boxes,
        kpt_thr=0.5 if ground_truth else 0.0,
        show=False,
    )
    # With only one of the two drawn, the visualiser returns it alone.
    return np.ascontiguousarray(drawn[..., ::-1])


def is_dark(image: np.ndarray) -> bool:
    """Whether a person would want an image (H, W, 3), uint8, lifted."""
    return image.mean() < 64


@VISUALIZERS.register_module()
class LightingVisualizer(PoseLocalVisualizer):
    """MMPose's visualiser for the dark: what it draws on is lifted, with the dark original inset.

    It serves ``PoseVisualizationHook`` (``--show``, ``--show-dir``) and every backend as MMPose's own
    does. Labels are drawn to the right of the predictions, on the well-lit partner if the
    sample names one (``well_lit_path``).

    Args:
        inset (float): Share of the frame's sides that the dark original takes. Defaults to 0.25.
        **kwargs: As for :class:`mmpose.visualization.PoseLocalVisualizer`.

    Raises:
        ValueError: If ``inset`` is not in [0, 1).
    """

    def __init__(self, name: str = 'visualizer', inset: float = 0.25, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        if not 0 <= inset < 1:
            raise ValueError(f'inset is a share of the frame in [0, 1), got {inset}')
        self.inset = inset
        kwargs = {key: value for key, value in kwargs.items() if key not in ('vis_backends', 'save_dir')}
        self.plain = _SkeletonVisualizer(**kwargs)

    def set_dataset_meta(self, *args: Any, **kwargs: Any) -> None:
        """As MMPose's."""
        super().set_dataset_meta(*args, **kwargs)
        self.plain.set_dataset_meta(*args, **kwargs)

    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: PoseDataSample,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        out_file: str | None = None,
        kpt_thr: float = 0.3,
        step: int = 0,
        **kwargs: Any,
    ) -> np.ndarray:
        """As MMPose's; ``image`` is (H, W, 3), uint8, RGB."""
        image = _as_labelled(image, data_sample)
        self.plain.radius, self.plain.line_width = self.radius, self.line_width  # MMPoseInferencer sets them
        partner = data_sample.get('well_lit_path')
        panels = []
        if draw_pred:
            panels.append(
                self.plain.add_datasample(
                    name, self._lifted(image, data_sample), data_sample, draw_gt=False, kpt_thr=kpt_thr, **kwargs
                )
            )
        if draw_gt or partner:
            labelled = self._lifted(image, data_sample) if partner is None else load_image(partner)[..., ::-1]
            panels.append(
                self.plain.add_datasample(
                    name, np.ascontiguousarray(labelled), data_sample, draw_pred=False, kpt_thr=0.5, **kwargs
                )
            )
        height = max(panel.shape[0] for panel in panels)
        picture = np.hstack([np.pad(panel, ((0, height - panel.shape[0]), (0, 0), (0, 0))) for panel in panels])
        return super().add_datasample(
            name, picture, PoseDataSample(), draw_gt=False, show=show, wait_time=wait_time, out_file=out_file, step=step
        )

    def _lifted(self, image: np.ndarray, sample: PoseDataSample) -> np.ndarray:
        if not is_dark(image) or sample.get('lighting') == 'well_lit':
            return image
        lifted = lift(image)
        height, width = (int(self.inset * side) for side in image.shape[:2])
        if height and width:
            lifted[: height + 2, : width + 2] = 255
            lifted[:height, :width] = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return lifted


def _as_labelled(image: np.ndarray, sample: PoseDataSample) -> np.ndarray:
    """A data set's image, RGB, as its joints see it: MMPose's hook has loaded it turned by its EXIF data."""
    path = sample.get('img_path')
    if sample.get('img_id') is None or not path or not osp.isfile(path) or not is_turned(path):
        return image
    return np.ascontiguousarray(load_image(path)[..., ::-1])


def collate_people(infos: Sequence[dict]) -> PoseDataSample:
    """One sample with the labels of all people of an image."""
    people = InstanceData(
        bboxes=np.concatenate([info['bbox'] for info in infos]),
        keypoints=np.concatenate([info['keypoints'] for info in infos]),
        keypoints_visible=np.concatenate([info['keypoints_visible'] for info in infos]),
    )
    sample = PoseDataSample()
    sample.gt_instances = people
    return sample


def draw_people(models: Sequence[BasePoseEstimator], infos: Sequence[dict], crop: bool = False) -> np.ndarray:
    """Predict on a dark image; show it beside its labels.

    Args:
        models (Sequence[BasePoseEstimator]): From :func:`mmpose.apis.init_model`.
        infos (Sequence[dict]): The people of one low-light image, from
            :class:`~exlpose_mm.ExLPoseDataset` in test mode.
        crop (bool): Show only where the labelled people are.

    Returns:
        np.ndarray: (H, (2 + M) W, 3), uint8, BGR: the dark image as it is; the same lifted, with
        the predictions of each model; and the labels, on the well-lit partner of a paired data
        set, else on the lifted image.
    """
    path, partner = infos[0]['img_path'], infos[0].get('well_lit_path')
    dark = load_image(path)
    lifted = lift(dark)
    boxes = np.concatenate([info['bbox'] for info in infos])
    window = _window(boxes, dark.shape[:2]) if crop else np.s_[:, :]
    line_width = max(1, round(max(dark[window].shape) / 200))
    panels = [dark]
    for model in models:
        predicted = merge_data_samples(inference_topdown(model, dark, boxes))
        panels.append(draw_poses(lifted, predicted, model.dataset_meta, line_width=line_width))
    labelled = lifted if partner is None else load_image(partner)
    panels.append(
        draw_poses(labelled, collate_people(infos), models[0].dataset_meta, ground_truth=True, line_width=line_width)
    )
    return np.hstack([panel[window] for panel in panels])


def input_names(sample: dict) -> list[str]:
    """Names of the images of a packed training sample."""
    inputs = sample['inputs']
    if not isinstance(inputs, dict):
        return [sample['data_samples'].get('lighting', 'image')]
    return [name for name, image in inputs.items() if image is not None]


def draw_sample(sample: dict, metainfo: dict, names: Sequence[str], height: int = 384) -> np.ndarray:
    """What the network gets of a training sample: its images side by side, joints on each.

    Args:
        sample (dict): From a data set whose ``PackPairedInputs`` has ``pack_transformed=True``.
        metainfo (dict): The data set's.
        names (Sequence[str]): Images to show, as :func:`input_names` gives them; one that the
            sample has not is left grey.
        height (int): Of each in pixels.

    Returns:
        np.ndarray: (height, W, 3), uint8, BGR; images but the well-lit one are lifted.
    """
    inputs = sample['inputs']
    if not isinstance(inputs, dict):
        inputs = {input_names(sample)[0]: inputs}
    shape = next(image.shape for image in inputs.values() if image is not None)
    width = round(height * shape[2] / shape[1])
    scaled = PoseDataSample()
    scaled.gt_instances = _input_joints(sample['data_samples'].gt_instances, height / shape[1])
    panels = []
    for name in names:
        panel = np.full((height, width, 3), 128, np.uint8)
        if inputs.get(name) is not None:
            image = np.ascontiguousarray(inputs[name].permute(1, 2, 0).numpy())
            image = image.clip(0, 255).astype(np.uint8) if name == 'well_lit' else lift(image)
            panel = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
            panel = draw_poses(panel, scaled, metainfo, ground_truth=True, boxes=False)
        panels.append(panel)
    return np.hstack(panels)


def _input_joints(people: InstanceData, factor: float) -> InstanceData:
    """Joints in pixels of the network's input times a factor, and whether they are labelled."""
    visible = people.keypoints_visible
    return InstanceData(
        keypoints=people.transformed_keypoints[..., :2] * factor,
        keypoints_visible=visible[..., 0] if visible.ndim == 3 else visible,
    )


def _window(boxes: np.ndarray, shape: Sequence[int], margin: float = 0.15) -> tuple[slice, slice]:
    """Rows and columns around boxes (N, 4), x1 y1 x2 y2, with a margin in shares of their span."""
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    reach = margin * (high - low).max()
    left, top = np.maximum(low - reach, 0).astype(int)
    right, bottom = np.minimum(high + reach, shape[::-1]).astype(int)
    return slice(top, bottom), slice(left, right)


def group_by_image(dataset: BaseCocoStyleDataset) -> list[list[dict]]:
    """The people of each image of a top-down data set, in order."""
    groups: dict[int, list[dict]] = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        groups.setdefault(info['img_id'], []).append(info)
    return list(groups.values())


def contact_sheet(rows: Sequence[np.ndarray], captions: Sequence[str], largest_width: int | None = None) -> np.ndarray:
    """Stack pictures, a caption on top of each column.

    Args:
        rows (Sequence[np.ndarray]): (H, W, 3), uint8, BGR, each of as many columns.
        captions (Sequence[str]): One for each column.
        largest_width (int, optional): The sheet gets the width of the widest row, but no more
            than this many pixels.

    Returns:
        np.ndarray: (H, W, 3), uint8, BGR.
    """
    width = max(row.shape[1] for row in rows)
    width = min(width, largest_width or width)
    top = np.full((28, width, 3), 255, np.uint8)
    for i, text in enumerate(captions):
        cv2.putText(
            top, text, (8 + i * width // len(captions), 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA
        )
    return np.vstack([top, *(_to_width(row, width) for row in rows)])


def _to_width(image: np.ndarray, width: int) -> np.ndarray:
    """Resize, and add a white line below."""
    size = (width, round(image.shape[0] * width / image.shape[1]))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(resized, 0, 4, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))
