"""What a stock model becomes one of two lightings by: its preprocessor, and the well-lit teacher's taps and weight."""

from mmpose.registry import MODELS
from mmpose.utils.typing import OptConfigType
from torch import nn

STAGES = ('layer1', 'layer2', 'layer3', 'layer4')
TAPS: dict[str, tuple[str, ...]] = {
    'ResNet': ('conv1', *STAGES),  # the paper's; ResNeXt, SEResNet, SCNet and RegNet too
    'ResNetV1d': ('stem', *STAGES),
    'HRNet': ('conv1', 'layer1', 'stage2', 'stage3', 'stage4'),
    'CSPDarknet': ('stem.conv.conv', 'stage1', 'stage2', 'stage3', 'stage4'),
    'CSPNeXt': ('stem.0.conv', 'stage1', 'stage2', 'stage3', 'stage4'),
    # Its conv1 is a convolution with norm and activation: before them its scale is free, and the loss, which trains one
    # side only, drives it up without end. Blocks end linearly, in few channels.
    'MobileNetV2': ('conv1', 'layer2', 'layer3', 'layer5', 'layer7'),
    'PyramidVisionTransformer': tuple(f'layers.{stage}.0.projection' for stage in range(4)),
}
"""Backbone layers, by the name of the backbone's class or of one that it derives from."""

STYLE_WEIGHT = 8e-4
"""The paper's, for CPN, whose heatmaps peak at 255; see :class:`~exlpose_mm.models.losses.GramLoss`."""
SHARES: dict[str, float] = {
    'CPNHead': 1.0,
    'DEKRHead': 1 / 255**2,  # of heatmaps that peak at 1, as those of KeypointMSELoss
    'AssociativeEmbeddingHead': 1 / 255**2,
    'RTMOHead': 1 / 30,
    'KeypointMSELoss': 1 / 255**2,
    'KLDiscretLoss': 1 / 500,
    'HeatmapCrossEntropyLoss': 1 / 90,
    'RTMDetSepBNHead': 1 / 200,
    'StandardRoIHead': 1 / 300,  # with the loss of the proposals
}
"""How high a head's loss starts beside CPN's, by the class of the head or of its ``loss_module``."""
FEATURES: dict[str, float] = {'MobileNetV2': 2.25e5}
"""How much more the style weighs where features, whose fourth power is compared, are smaller than a ResNet's."""


def default_preprocessor(cfg: OptConfigType) -> OptConfigType:
    """Configs of stock MMPose's preprocessors, which have a ``mean`` and a ``std``, as one for each lighting.

    Well-lit images are normalised by the given one. Low light is scaled by the pipeline already: only 255 is divided
    out. Any other config is returned as it is.
    """
    if not isinstance(cfg, dict) or not {'mean', 'std'} <= set(cfg):
        return cfg
    channels = len(cfg['mean'])
    low_light = dict(cfg, mean=channels * [0.0], std=channels * [255.0])
    return dict(type='LightingDataPreprocessor', low_light=low_light, well_lit=cfg)


def default_taps(backbone: nn.Module) -> list[str]:
    """Layers of a backbone that the well-lit teacher looks at.

    Raises:
        ValueError: If nothing is known of its family; names those that are.
    """
    family = _family(backbone)
    if family not in TAPS:
        raise ValueError(
            f'no taps are known for a {type(backbone).__name__}, only for {", ".join(TAPS)} and their subclasses: '
            "name layers whose outputs are maps (B, C, H, W), well_lit_teacher=dict(taps=['...'])"
        )
    return list(TAPS[family])


def default_style_loss(backbone: nn.Module, head: nn.Module) -> nn.Module:
    """The style loss with the weight that gives it the share that it has in the paper's whole loss.

    The weights of this package's configs are of this rule; for other pairs of backbone and head it is a start, which
    nobody has tuned.

    Raises:
        ValueError: If nothing is known of the head's loss; names those that are.
    """
    loss = type(getattr(head, 'loss_module', None)).__name__
    names = [*(kind.__name__ for kind in type(head).__mro__), loss]
    share = next((SHARES[name] for name in names if name in SHARES), None)
    if share is None:
        raise ValueError(
            f'no weight of the style loss is known for a {type(head).__name__} with {loss}, '
            f'only for {", ".join(SHARES)}: name one, '
            "well_lit_teacher=dict(loss=dict(type='GramLoss', loss_weight=...))"
        )
    return MODELS.build(dict(type='GramLoss', loss_weight=STYLE_WEIGHT * share * FEATURES.get(_family(backbone), 1.0)))


def _family(backbone: nn.Module) -> str:
    return next((cls.__name__ for cls in type(backbone).__mro__ if cls.__name__ in TAPS), '')
