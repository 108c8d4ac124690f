"""DEKR's head with the test on several scales that MMPose's leaves out, and on batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmengine.structures import InstanceData
from mmpose.evaluation.functional.nms import nearby_joints_nms
from mmpose.models.heads import DEKRHead
from mmpose.registry import MODELS
from mmpose.utils.tensor_utils import to_numpy
from mmpose.utils.typing import ConfigType, Features, InstanceList, OptSampleList, Predictions
from torch import Tensor

Poses = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Joints (N, K, 2) in pixels of the input, scores of centres (N, ) and of joints (N, K)."""


@MODELS.register_module()
class MultiScaleDEKRHead(DEKRHead):
    """MMPose's ``DEKRHead``, which also tests on several scales of an image, and batches of several images.

    With ``test_cfg=dict(multiscale_test=True)`` the poses of all scales are pooled, and of those that lie close
    together the pose with the highest mean score of its joints stays, in whatever scale it was found.

    Args:
        **kwargs: As for :class:`mmpose.models.DEKRHead`.

    Raises:
        ValueError: When it predicts on several scales with a ``rescore_cfg``, which is of one scale, or without an
            NMS, ``test_cfg=dict(nms_dist_thr=...)``: everybody would be found once in each.
    """

    def predict(
        self, feats: Features, batch_data_samples: OptSampleList, test_cfg: ConfigType = {}
    ) -> InstanceList | Predictions:
        """Predict as MMPose's, image by image."""
        predictions = [
            super(MultiScaleDEKRHead, self).predict(_row(feats, i), [sample], test_cfg)
            for i, sample in enumerate(batch_data_samples)
        ]
        if not test_cfg.get('output_heatmaps', False):
            return [pose for poses in predictions for pose in poses]
        poses, fields = zip(*predictions)
        return [pose for of_one in poses for pose in of_one], [field for of_one in fields for field in of_one]

    def decode(
        self,
        heatmaps: Sequence[Tensor],
        displacements: Sequence[Tensor],
        test_cfg: ConfigType = {},
        metainfo: dict = {},
    ) -> InstanceList:
        """Decode keypoints from the maps of one image in each scale; those of one as MMPose's."""
        if not test_cfg.get('multiscale_test', False):
            return super().decode(heatmaps, displacements, test_cfg, metainfo)
        if self.rescore_net is not None or not test_cfg.get('nms_dist_thr', 0) > 0:
            raise ValueError(
                'a DEKR head that tests on several scales takes no rescore_cfg, and needs '
                'test_cfg=dict(nms_dist_thr=0.05): else it would find everybody once in each scale'
            )
        scales = [1.0, *metainfo['aug_scales']]
        size = np.array(metainfo['input_size'], np.float32)
        found = [self._poses(maps, moves, scale, size) for maps, moves, scale in zip(heatmaps, displacements, scales)]
        joints, centres, confidences = (np.concatenate(parts) for parts in zip(*found))
        people = [dict(keypoints=pose, score=score) for pose, score in zip(joints, confidences)]
        kept = nearby_joints_nms(
            people,
            test_cfg['nms_dist_thr'],
            test_cfg.get('nms_joints_thr', None),
            score_per_joint=True,
            max_dets=test_cfg.get('max_num_people', 30),
        )
        kept = np.array(kept, int)
        return [InstanceData(keypoints=joints[kept], keypoint_scores=(centres[:, None] * confidences)[kept])]

    def _poses(self, heatmaps: Tensor, displacements: Tensor, scale: float, size: np.ndarray) -> Poses:
        """What one scale shows. Each scale's image lies in the middle of an input of its own, as ``BottomupResize``
        puts it."""
        joints, scores = self.decoder.decode(heatmaps[0], displacements[0])
        joints, centres, confidences = to_numpy((joints, *scores))
        own = np.array(heatmaps.shape[:1:-1], np.float32) * self.decoder.scale_factor
        return (joints - own / 2) / scale + size / 2, centres, confidences


def _row(feats: Any, i: int) -> Any:
    """One image's features out of lists of lists of a batch's."""
    if isinstance(feats, (list, tuple)):
        return type(feats)(_row(part, i) for part in feats)
    return feats[i : i + 1]
