"""Associative embedding's head, trained: MMPose 1.x tests it only."""

import torch
from mmpose.models.heads import AssociativeEmbeddingHead
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, Features, SampleList


@MODELS.register_module()
class AEHead(AssociativeEmbeddingHead):
    """MMPose's ``AssociativeEmbeddingHead`` with a loss that takes images with any number of people each.

    MMPose's wants one weight for each joint of an image, but gets one for each joint of each person. As in the
    original (Newell et al., NeurIPS 2017) maps are compared everywhere but in the masked regions, and tags where joints
    are. Targets are those of :class:`~exlpose_mm.AEHeatmap`.

    Args:
        **kwargs: As for :class:`mmpose.models.AssociativeEmbeddingHead`.

    Loss keys: ``loss_kpt``, ``loss_pull``, ``loss_push``.
    """

    def loss(self, feats: Features, batch_data_samples: SampleList, train_cfg: ConfigType = {}) -> dict:
        """Losses of B images; the samples have ``heatmaps``, ``keypoint_indices`` and, if any, a ``heatmap_mask``."""
        heatmaps, tags = self.forward(feats)
        if not self.tag_per_keypoint:
            tags = tags.repeat((1, self.num_keypoints, 1, 1))
        fields = [sample.gt_fields for sample in batch_data_samples]
        targets = torch.stack([field.heatmaps for field in fields])
        masks = torch.stack([field.heatmap_mask for field in fields]) if 'heatmap_mask' in fields[0] else None
        indices = [sample.gt_instance_labels.keypoint_indices for sample in batch_data_samples]
        pull, push = self.loss_module.tag_loss(tags, indices)
        return dict(
            loss_kpt=self.loss_module.keypoint_loss(heatmaps, targets, None, masks),
            loss_pull=pull / len(fields),
            loss_push=push / len(fields),
        )
