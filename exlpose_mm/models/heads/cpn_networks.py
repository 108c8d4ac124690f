"""The two networks of the Cascaded Pyramid Network (CPN)'s head."""

from collections.abc import Sequence
from typing import Any

import torch
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmpose.models.backbones.resnet import Bottleneck
from mmpose.utils.typing import ConfigType
from torch import Tensor, nn


def _conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """A convolution that keeps the size; CPN's have no bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)


def _norm(norm_cfg: ConfigType, channels: int) -> nn.Module:
    return build_norm_layer(norm_cfg, channels)[1]


def _upsample(**kwargs: Any) -> nn.Upsample:
    return nn.Upsample(mode='bilinear', align_corners=True, **kwargs)


class GlobalNet(BaseModule):
    """Feature pyramid with one prediction per level (CPN, section 3.2).

    Args:
        in_channels (Sequence[int]): Channels of the feature maps, coarse to
            fine.
        channels (int): Channels of the pyramid.
        out_channels (int): Joints K.
        out_size (tuple[int, int]): Size (H, W) of the predicted maps.
        norm_cfg (dict): Config of the norm layers.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int,
        out_channels: int,
        out_size: tuple[int, int],
        norm_cfg: ConfigType,
    ) -> None:
        super().__init__(init_cfg=dict(type='Kaiming', layer='Conv2d'))
        self.laterals = nn.ModuleList(
            nn.Sequential(_conv(c, channels, 1), _norm(norm_cfg, channels), nn.ReLU(inplace=True)) for c in in_channels
        )
        self.upsamples = nn.ModuleList(
            nn.Sequential(_upsample(scale_factor=2), _conv(channels, channels, 1), _norm(norm_cfg, channels))
            for _ in in_channels[1:]
        )
        self.predict = nn.ModuleList(
            nn.Sequential(
                _conv(channels, channels, 1),
                _norm(norm_cfg, channels),
                nn.ReLU(inplace=True),
                _conv(channels, out_channels, 3),
                _upsample(size=out_size),
                _norm(norm_cfg, out_channels),
            )
            for _ in in_channels
        )

    def forward(self, feats: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the pyramid's features and maps, both coarse to fine."""
        features = [self.laterals[0](feats[0])]
        for feat, lateral, upsample in zip(feats[1:], self.laterals[1:], self.upsamples):
            features.append(lateral(feat) + upsample(features[-1]))
        return features, [p(f) for p, f in zip(self.predict, features)]


class RefineNet(BaseModule):
    """Joins the levels of GlobalNet to one prediction (CPN, section 3.2).

    Args:
        num_levels (int): Levels L of GlobalNet; level i, from the coarsest,
            passes L - 1 - i bottlenecks.
        channels (int): Channels of each level and of the last bottleneck.
        out_channels (int): Joints K.
        out_size (tuple[int, int]): Size (H, W) of the predicted map.
        norm_cfg (dict): Config of the norm layers.
    """

    def __init__(
        self, num_levels: int, channels: int, out_channels: int, out_size: tuple[int, int], norm_cfg: ConfigType
    ) -> None:
        super().__init__()

        def bottleneck(in_channels: int) -> nn.Module:
            shortcut = nn.Sequential(_conv(in_channels, channels, 1), _norm(norm_cfg, channels))
            return Bottleneck(in_channels, channels, expansion=2, downsample=shortcut, norm_cfg=norm_cfg)

        self.cascade = nn.ModuleList(
            nn.Sequential(*(bottleneck(channels) for _ in range(depth)), _upsample(size=out_size))
            for depth in reversed(range(num_levels))
        )
        self.final_predict = nn.Sequential(
            bottleneck(num_levels * channels), _conv(channels, out_channels, 3), _norm(norm_cfg, out_channels)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Map GlobalNet's features, coarse to fine, to the refined map."""
        levels = [stage(f) for stage, f in zip(self.cascade, features)]
        return self.final_predict(torch.cat(levels, dim=1))
