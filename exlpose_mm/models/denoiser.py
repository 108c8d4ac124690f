"""A small network that dark images pass before the backbone, and the light does not."""

from functools import cache
from itertools import pairwise
from typing import Any

import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType
from torch import Tensor, nn
from torch.nn import functional as F

from exlpose_mm.lighting import LightingSpecific, check_lighting


@MODELS.register_module()
class UNetDenoiser(LightingSpecific, BaseModule):
    """What a dark image would be in the light: a U-Net (Ronneberger et al., MICCAI 2015) at half resolution.

    It sees the photons and their square roots, whose noise has the same variance everywhere (Anscombe, 1948). Its
    output is a new image, and of each pixel of the old one as much as a gate lets through. In the dark a network that
    learned in the light cannot average enough of them: its first layer sees 3 x 3 pixels, and clips the few bright
    ones. Neither the paper nor its code has it.

    Args:
        widths (tuple[int]): Channels at half the image's resolution, a quarter of it, and so on; level i has i + 1
            convolutions either way. Defaults to (32, 64, 96): 0.5 million parameters.
        lighting (str, optional): Of all images, for a model of one lighting. By default
            :func:`~exlpose_mm.lighting.lighting` says.
        init_cfg (dict, optional): As for any module of mmengine.

    Shape: (B, 3, H, W) to the same, H and W even. In: low light as shares of 255, scaled to the common mean, not
    negative. Out: as a well-lit image is normalised. A well-lit image is returned as it is.

    Raises:
        LightingError: ``forward`` outside of :func:`~exlpose_mm.lighting.lighting`.
        ValueError: If ``lighting`` is not one.
    """

    BRIGHTEST = 16.0
    """Share of 255 from which on more light is no news."""

    def __init__(
        self, widths: tuple[int, ...] = (32, 64, 96), lighting: str | None = None, init_cfg: ConfigType | None = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.active = lighting and check_lighting(lighting)
        self.enter = _convolutions(24, widths[0])
        self.encode = nn.ModuleList(_convolutions(*[width] * (i + 2)) for i, width in enumerate(widths))
        self.down = nn.ModuleList(_convolutions(*pair, stride=2) for pair in pairwise(widths))
        self.up = nn.ModuleList(nn.Conv2d(low, high, 1) for high, low in pairwise(widths))
        self.decode = nn.ModuleList(_convolutions(*[width] * (i + 2)) for i, width in enumerate(widths[:-1]))
        self.leave = nn.Conv2d(widths[0], 24, 3, padding=1)
        self.mix = nn.Conv2d(6, 3, 1)

    def under(self, name: str, x: Tensor) -> Tensor:
        return x if name == 'well_lit' else self.denoise(x)

    def denoise(self, x: Tensor) -> Tensor:
        """What it makes of low light."""
        x = x.clamp(min=0)
        photons = torch.cat([x.clamp(max=self.BRIGHTEST) / 2, (x + 1e-3).sqrt()], dim=1)
        skips = [self.encode[0](self.enter(F.pixel_unshuffle(photons, 2)))]
        for down, encode in zip(self.down, self.encode[1:]):
            skips.append(encode(down(skips[-1])))
        features = skips.pop()
        for up, decode in zip(self.up[::-1], self.decode[::-1]):
            skip = skips.pop()
            features = decode(skip + F.interpolate(up(features), size=skip.shape[2:]))
        image, gate = F.pixel_shuffle(self.leave(features), 2).chunk(2, dim=1)
        return image + gate.sigmoid() * self.mix(photons)


def _convolutions(*widths: int, stride: int = 1) -> nn.Sequential:
    layers = [
        layer
        for channels, out in pairwise(widths)
        for layer in (nn.Conv2d(channels, out, 3, stride, padding=1), nn.ReLU(inplace=True))
    ]
    return nn.Sequential(*layers)


class Denoised(BaseModule):
    """What a backbone becomes one with a denoiser by; it comes before the backbone among a class's bases.

    Args:
        denoiser (dict): Config of a :class:`~exlpose_mm.lighting.LightingSpecific` of images.
        **kwargs: As for the backbone.
    """

    def __init__(self, *, denoiser: ConfigType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.denoiser = MODELS.build(denoiser)

    def init_weights(self) -> None:
        """As the backbone's, and the denoiser's, which a pretrained backbone would leave out."""
        super().init_weights()
        self.denoiser.init_weights()

    def forward(self, x: Tensor) -> Any:
        return super().forward(self.denoiser(x))


@MODELS.register_module()
def DenoisedBackbone(backbone: str, denoiser: ConfigType = {}, **kwargs: Any) -> BaseModule:
    """Build any backbone of MMPose with a denoiser before it.

    In a config: ``backbone=dict(type='DenoisedBackbone', backbone='ResNet', ...)``. Names of parameters and layers are
    the backbone's own, so that its checkpoints load and its taps are found, and ``denoiser``, which may be a tap as
    well: there the well-lit image itself is what the dark one is compared to.

    Args:
        backbone (str): Its class, as MMPose has registered it.
        denoiser (dict): Config. The type defaults to :class:`UNetDenoiser`.
        **kwargs: As for the backbone.

    Raises:
        ValueError: If there is no such class.
    """
    kind = MODELS.get(backbone)
    if not (isinstance(kind, type) and issubclass(kind, BaseModule)):
        raise ValueError(f"MMPose has no backbone {backbone!r}; name its class, as backbone='ResNet'")
    return _denoised(kind)(denoiser={'type': 'UNetDenoiser', **denoiser}, **kwargs)


@cache
def _denoised(kind: type[BaseModule]) -> type[BaseModule]:
    return type(f'Denoised{kind.__name__}', (Denoised, kind), dict(__module__=__name__))
