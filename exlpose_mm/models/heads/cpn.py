"""The head of the Cascaded Pyramid Network (CPN)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmpose.models.heads.base_head import BaseHead
from mmpose.models.utils.tta import flip_heatmaps
from mmpose.registry import KEYPOINT_CODECS, MODELS
from mmpose.utils.typing import ConfigType, Features, OptConfigType, OptSampleList, Predictions
from torch import Tensor, nn

from exlpose_mm.codecs import PEAK, CPNHeatmap
from exlpose_mm.models.distillation import HeatmapOutput
from exlpose_mm.models.heads.cpn_networks import GlobalNet, RefineNet
from exlpose_mm.models.targets import CPNTargets


@MODELS.register_module()
class OHKMMSELoss(nn.Module):
    """Mean squared error with online hard keypoint mining (CPN, section 3.2).

    The squared error is averaged over the cells of each joint's map and
    multiplied by the joint's weight; the loss is the mean over the ``topk``
    largest values of each person, and over the batch. There is no factor 1/2.

    It differs from MMPose's ``KeypointOHKMMSELoss`` in that a weight is not
    squared and that nothing is looped over in Python.

    Args:
        topk (int): Joints kept per person. Defaults to 8.
        loss_weight (float): Defaults to 1.0.

    Raises:
        ValueError: If ``topk`` is not positive.
    """

    def __init__(self, topk: int = 8, loss_weight: float = 1.0) -> None:
        super().__init__()
        if topk < 1:
            raise ValueError(f'topk must be positive, got {topk}')
        self.topk = topk
        self.loss_weight = loss_weight

    def forward(self, output: Tensor, target: Tensor, target_weights: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            output (Tensor): Predicted maps (B, K, H, W).
            target (Tensor): Target maps (B, K, H, W).
            target_weights (Tensor): (B, K), 0 for a joint without a label.

        Returns:
            Tensor: A scalar.

        Raises:
            ValueError: If there are fewer than ``topk`` joints.
        """
        if output.size(1) < self.topk:
            raise ValueError(f'OHKMMSELoss keeps topk={self.topk} joints, got maps of {output.size(1)}')
        errors = F.mse_loss(output, target, reduction='none').mean((2, 3))
        hardest = (errors * target_weights).topk(self.topk, dim=1).values
        return hardest.mean() * self.loss_weight


@MODELS.register_module()
class CPNHead(BaseHead):
    """GlobalNet and RefineNet of `CPN`_, the head of ExLPose.

    Legend: B: batch, K: joints, L: levels, (W, H): size of the maps. Maps
    have a peak of 255, as :class:`CPNHeatmap` encodes them.

    ``loss_global`` is the sum over the L global levels of half the mean
    squared error over all joints, whether labelled or not (joints that are
    not visible have an empty target). ``loss_refine`` is the error of the
    refined map on the labelled joints, with online hard keypoint mining and
    without the factor 1/2. Both are computed in float32 under autocast.

    The parameters have the names of the official checkpoint, and with the
    same inputs their number: 3,864,204 for a ResNet-50 and 14 joints. A
    ResNet-50 without its classifier has 23,508,032 and a second copy of its
    batch norms 53,120 more, which gives the 27,425,356 of the official model.
    Convolutions of GlobalNet start from Kaiming's normal distribution (fan
    out), those of RefineNet from PyTorch's default, as in the official code.

    Args:
        in_channels (Sequence[int]): Channels of the L feature maps, finest
            first. Each is half the size of the one before. Defaults to
            (256, 512, 1024, 2048), the stages of a ResNet-50.
        out_channels (int): Joints K. Defaults to 14.
        heatmap_size (tuple[int, int]): (W, H). Defaults to (48, 64).
        channels (int): Channels of the pyramid, an even number. Defaults to
            256.
        norm_cfg (dict): Config of the norm layers. Defaults to
            ``dict(type='BN')``.
        global_loss (dict): Loss of one global level, called with the maps
            and the targets. Defaults to half the mean squared error.
        refine_loss (dict): Loss of the refined map, called with the map, the
            target and the weights (B, K). Defaults to :class:`OHKMMSELoss`.
        decoder (dict, optional): The codec that decodes the refined map. If the targets' codec leaves drawing
            to the head (``CPNHeatmap(draw=False)``), it draws with this one's kernels.
        init_cfg (dict, optional): Initialization of the whole head.

    Raises:
        ValueError: If ``in_channels`` is empty, ``channels`` is odd, or the
            decoder's heatmap size or number of global levels is another.

    .. _`CPN`: https://arxiv.org/abs/1711.07319
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (256, 512, 1024, 2048),
        out_channels: int = 14,
        heatmap_size: tuple[int, int] = (48, 64),
        channels: int = 256,
        norm_cfg: ConfigType = dict(type='BN'),
        global_loss: ConfigType = dict(type='KeypointMSELoss', loss_weight=0.5),
        refine_loss: ConfigType = dict(type='OHKMMSELoss'),
        decoder: OptConfigType = None,
        init_cfg: OptConfigType = None,
    ) -> None:
        super().__init__(init_cfg)
        if not in_channels:
            raise ValueError('in_channels names no feature map')
        if channels % 2:
            raise ValueError(f'channels must be even, got {channels}')
        self.in_channels = tuple(in_channels)
        self.out_channels = out_channels
        width, height = heatmap_size
        self.heatmap_size = width, height
        self.decoder = KEYPOINT_CODECS.build(decoder) if decoder else None
        self._check_decoder()
        self.draw_targets = CPNTargets(self.decoder) if isinstance(self.decoder, CPNHeatmap) else None

        out_size = height, width
        self.global_net = GlobalNet(self.in_channels[::-1], channels, out_channels, out_size, norm_cfg)
        self.refine_net = RefineNet(len(in_channels), channels, out_channels, out_size, norm_cfg)
        self.global_loss = MODELS.build(global_loss)
        self.refine_loss = MODELS.build(refine_loss)

    def _check_decoder(self) -> None:
        """Raise a ValueError if another codec's maps are to be decoded."""
        expected = dict(heatmap_size=self.heatmap_size, num_levels=len(self.in_channels))
        got = dict(expected)
        size, kernels = (getattr(self.decoder, name, None) for name in ('heatmap_size', 'kernel_sizes'))
        if size is not None:
            got['heatmap_size'] = tuple(size)
        if kernels is not None:
            got['num_levels'] = len(kernels)
        if got != expected:
            raise ValueError(f'CPNHead predicts {expected}, its decoder has {got}')

    @property
    def distilled_output(self) -> HeatmapOutput:
        """What a momentum teacher compares: the refined map."""
        return HeatmapOutput('refine_net.final_predict', peak=PEAK)

    def forward(self, feats: Features) -> list[Tensor]:
        """Predict all maps.

        Args:
            feats (Sequence[Tensor]): L feature maps, finest first.

        Returns:
            list[Tensor]: L global maps, coarse to fine, and the refined one,
            each (B, K, H, W).

        Raises:
            ValueError: If number or channels of the maps are unexpected.
        """
        channels = tuple(feat.size(1) for feat in feats)
        if channels != self.in_channels:
            raise ValueError(
                f'CPNHead expects feature maps, finest first, of {self.in_channels} channels, got {channels}'
            )
        features, maps = self.global_net(feats[::-1])
        return [*maps, self.refine_net(features)]

    def predict(self, feats: Features, batch_data_samples: OptSampleList, test_cfg: ConfigType = {}) -> Predictions:
        """Decode the refined map.

        Args:
            feats (Features): L feature maps, finest first. With a flip test,
                a list of two such sequences: of the image and its mirror.
            batch_data_samples (list[PoseDataSample]): B samples; a flip test
                takes ``flip_indices`` from the first.
            test_cfg (dict): ``flip_test`` averages the maps of the two, with
                MMPose's ``flip_mode`` and ``shift_heatmap`` (by default none,
                as in the official code); ``output_heatmaps``.

        Returns:
            list[InstanceData]: Joints and scores; with ``output_heatmaps`` a
            tuple of these and the refined maps as list[PixelData].
        """
        if test_cfg.get('flip_test', False):
            feats, mirrored = feats
            flipped = flip_heatmaps(
                self.forward(mirrored)[-1],
                flip_mode=test_cfg.get('flip_mode', 'heatmap'),
                flip_indices=batch_data_samples[0].metainfo['flip_indices'],
                shift_heatmap=test_cfg.get('shift_heatmap', False),
            )
            heatmaps = (self.forward(feats)[-1] + flipped) * 0.5
        else:
            heatmaps = self.forward(feats)[-1]

        preds = self.decode(heatmaps)
        if test_cfg.get('output_heatmaps', False):
            return preds, [PixelData(heatmaps=m) for m in heatmaps.detach()]
        return preds

    def loss(self, feats: Features, batch_data_samples: OptSampleList, train_cfg: ConfigType = {}) -> dict:
        """Compute the losses.

        Args:
            feats (Sequence[Tensor]): L feature maps, finest first.
            batch_data_samples (list[PoseDataSample]): B samples with the
                targets of :class:`CPNHeatmap`; drawn here if that left it to this head.
            train_cfg (dict): ``compute_acc=False`` leaves ``acc_pose`` out.

        Returns:
            dict: ``loss_global``, ``loss_refine`` and ``acc_pose``, the PCK
            of the refined map's maxima (0.05 of the map's size).

        Raises:
            ValueError: If the samples have another number of targets, or have to be drawn and the head has no
                ``CPNHeatmap`` for decoder.
        """
        maps = [m.float() for m in self.forward(feats)]
        targets = self._targets(batch_data_samples)
        if len(targets) != len(maps):
            raise ValueError(
                f'CPNHead predicts {len(maps)} maps per joint, got targets '
                f'for {len(targets)}: encode them with CPNHeatmap'
            )
        weights = torch.cat([d.gt_instance_labels.keypoint_weights for d in batch_data_samples])

        losses = dict(
            loss_global=sum(map(self.global_loss, maps[:-1], targets[:-1])),
            loss_refine=self.refine_loss(maps[-1], targets[-1], weights),
        )
        if train_cfg.get('compute_acc', True):
            losses['acc_pose'] = pck(maps[-1].detach(), targets[-1], weights > 0)
        return losses

    def _targets(self, samples: OptSampleList) -> list[Tensor]:
        """L + 1 maps (B, K, H, W), from the samples or drawn from their joints."""
        labels = [sample.gt_instance_labels for sample in samples]
        if 'keypoint_cells' not in labels[0]:
            return [torch.stack(level) for level in zip(*(sample.gt_fields.heatmaps for sample in samples))]
        if self.draw_targets is None:
            raise ValueError('CPNHead draws the targets of CPNHeatmap(draw=False) by its decoder, and has none')
        return self.draw_targets([label.keypoint_cells for label in labels])


def pck(output: Tensor, target: Tensor, labelled: Tensor, threshold: float = 0.05) -> Tensor:
    """MMPose's ``pose_pck_accuracy`` on the maps' own device.

    Args:
        output (Tensor): Predicted maps (B, K, H, W).
        target (Tensor): Target maps (B, K, H, W).
        labelled (Tensor): (B, K), bool.
        threshold (float): As a share of (H, W), by which MMPose divides (x,
            y). Defaults to 0.05.

    Returns:
        Tensor: The mean over the joints that anybody has a label of.
    """
    height, width = output.shape[2:]
    dx, dy = (_maxima(output) - _maxima(target)).unbind(-1)
    near = torch.hypot(dx / height, dy / width) < threshold
    people = labelled.sum(0)
    shares = (near & labelled).sum(0) / people.clamp(min=1)
    return shares.sum() / (people > 0).sum().clamp(min=1)


def _maxima(maps: Tensor) -> Tensor:
    """(x, y) of the maxima, (-1, -1) where nothing is positive."""
    heights, cells = maps.flatten(2).max(-1)
    width = maps.shape[3]
    places = torch.stack([cells % width, cells // width], -1).float()
    return places.masked_fill((heights <= 0)[..., None], -1)
