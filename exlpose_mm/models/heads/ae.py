"""Associative embedding's head, trained, and tested on several scales: MMPose 1.x tests it on one only."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpose.models.heads import AssociativeEmbeddingHead
from mmpose.models.utils.tta import aggregate_heatmaps, flip_heatmaps
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, Features, InstanceList, OptSampleList, Predictions, SampleList
from torch import Tensor


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

    def predict(
        self, feats: Features, batch_data_samples: OptSampleList, test_cfg: ConfigType = {}
    ) -> InstanceList | Predictions:
        """Predict as MMPose's; on several scales without ``output_heatmaps``."""
        if not test_cfg.get('multiscale_test', False):
            # MMPose's is particular about lists and tuples, and its estimator and necks are not.
            flips = test_cfg.get('flip_test', False)
            feats = [tuple(of) for of in feats] if flips else [*feats]
            return super().predict(feats, batch_data_samples, test_cfg)
        facts = batch_data_samples[0].metainfo
        maps, tags = zip(*(self._outputs(of_scale, facts, test_cfg) for of_scale in feats))
        size = facts['img_shape'] if test_cfg.get('restore_heatmap_size', False) else maps[0].shape[2:]
        alike = [
            _around_centre(scale, [round(side * factor) for side in maps[0].shape[2:]])
            for scale, factor in zip(maps, (1, *facts['aug_scales']))
        ]
        corners = test_cfg.get('align_corners', False)
        return self.decode(
            tuple(aggregate_heatmaps(of, size[::-1], corners, 'average') for of in (alike, [tags[0]]))  # resized
        )

    def _outputs(self, feats: Features, facts: dict, test_cfg: ConfigType) -> tuple[Tensor, Tensor]:
        """Maps and tags of one scale; with a flip test the mean of the maps, and the tags of both."""
        if not test_cfg.get('flip_test', False):
            return self.forward(feats)
        (maps, tags), (flipped_maps, flipped_tags) = (self.forward(of) for of in feats)
        how = dict(flip_indices=facts['flip_indices'], shift_heatmap=test_cfg.get('shift_heatmap', False))
        flipped_maps = flip_heatmaps(flipped_maps, flip_mode='heatmap', **how)
        return (maps + flipped_maps) / 2, torch.cat([tags, self._flip_tags(flipped_tags, **how)], dim=1)


def _around_centre(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (B, C, H, W), cut or filled with zeros to a size (h, w): an input's padding differs from scale to scale."""
    (top, bottom), (left, right) = ((d // 2, d - d // 2) for d in (a - b for a, b in zip(size, maps.shape[2:])))
    return F.pad(maps, (left, right, top, bottom))
