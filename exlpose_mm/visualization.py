"""What a person looks at: a dark image lifted, its well-lit partner beside it, skeletons."""
from typing import List, Sequence

import cv2
import numpy as np
from mmengine.structures import InstanceData
from mmpose.apis import inference_topdown
from mmpose.structures import PoseDataSample, merge_data_samples
from mmpose.visualization import PoseLocalVisualizer


def lift(image: np.ndarray) -> np.ndarray:
    """Make a dark image visible, for the eye only.

    Blurs away the worst noise, scales every channel to the same mean, maps the 99.5th
    percentile to white and applies a display gamma of 2.2.

    Args:
        image (np.ndarray): (H, W, 3), uint8. All zero stays all zero.

    Returns:
        np.ndarray: (H, W, 3), uint8.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    means = smooth.mean(axis=(0, 1))
    smooth *= means.mean() / np.where(means > 0, means, np.inf)
    white = max(np.percentile(smooth, 99.5), 1e-6)
    return np.rint(255 * (smooth / white).clip(0, 1)**(1 / 2.2)).astype(np.uint8)


def draw_poses(image: np.ndarray, sample: PoseDataSample, metainfo: dict,
               ground_truth: bool = False) -> np.ndarray:
    """Draw the predicted or the labelled people of one image.

    Args:
        image (np.ndarray): (H, W, 3), uint8, BGR.
        sample (PoseDataSample): With ``pred_instances`` or ``gt_instances``.
        metainfo (dict): The data set's.
        ground_truth (bool): Draw labels instead of predictions.

    Returns:
        np.ndarray: (H, W, 3), uint8, BGR.
    """
    size = max(1, round(max(image.shape[:2]) / 200))
    visualizer = PoseLocalVisualizer(radius=size, line_width=size)
    visualizer.set_dataset_meta(metainfo)
    drawn = visualizer.add_datasample(
        'poses', image[..., ::-1], sample, draw_gt=ground_truth, draw_pred=not ground_truth,
        draw_bbox=True, kpt_thr=0., show=False)
    # With only one of the two drawn, the visualiser returns it alone.
    return np.ascontiguousarray(drawn[..., ::-1])


def collate_people(infos: Sequence[dict]) -> PoseDataSample:
    """One sample with the labels of all people of an image."""
    people = InstanceData(
        bboxes=np.concatenate([info['bbox'] for info in infos]),
        keypoints=np.concatenate([info['keypoints'] for info in infos]),
        keypoints_visible=np.concatenate([info['keypoints_visible'] for info in infos]))
    sample = PoseDataSample()
    sample.gt_instances = people
    return sample


def draw_pair(model, infos: Sequence[dict]) -> np.ndarray:
    """Predict on a dark image; show it beside its partner.

    Args:
        model (nn.Module): From :func:`mmpose.apis.init_model`.
        infos (Sequence[dict]): The people of one low-light image, from a paired
            :class:`~exlpose_mm.ExLPoseDataset` in test mode.

    Returns:
        np.ndarray: (H, 3 W, 3), uint8, BGR: the dark image as it is, the same lifted with
        the predictions, the well-lit partner with the labels.
    """
    dark = cv2.imread(infos[0]['img_path'])
    well_lit = cv2.imread(infos[0]['well_lit_path'])
    boxes = np.concatenate([info['bbox'] for info in infos])
    predicted = merge_data_samples(inference_topdown(model, infos[0]['img_path'], boxes))
    return np.hstack([
        dark,
        draw_poses(lift(dark), predicted, model.dataset_meta),
        draw_poses(well_lit, collate_people(infos), model.dataset_meta, ground_truth=True)
    ])


def group_by_image(dataset) -> List[List[dict]]:
    """The people of each image of a top-down data set, in order."""
    groups = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        groups.setdefault(info['img_id'], []).append(info)
    return list(groups.values())


CAPTIONS = ('as the camera saw it', 'lifted, with predictions', 'well-lit partner, labels')


def contact_sheet(rows: Sequence[np.ndarray], captions: Sequence[str] = CAPTIONS) -> np.ndarray:
    """Stack pictures of one width, a caption on top of each column; narrower ones are padded."""
    width = max(row.shape[1] for row in rows)
    padded = [cv2.copyMakeBorder(row, 0, 4, 0, width - row.shape[1], cv2.BORDER_CONSTANT,
                                 value=(255, 255, 255)) for row in rows]
    top = np.full((28, width, 3), 255, np.uint8)
    for i, text in enumerate(captions):
        cv2.putText(top, text, (8 + i * width // len(captions), 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5,
                    (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([top, *padded])
