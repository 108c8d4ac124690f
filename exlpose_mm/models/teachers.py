"""Teachers of the low-light student."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.model import ExponentialMovingAverage, MomentumAnnealingEMA
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, SampleList
from torch import Tensor, nn

from exlpose_mm.lighting import LIGHTINGS, lighting, tap
from exlpose_mm.models.defaults import default_style_loss, default_taps
from exlpose_mm.models.dense_distillation import DenseDistillation, distillation_of
from exlpose_mm.models.distillation import Distillation
from exlpose_mm.views import MOMENTUM_VIEW, BatchViews


class WellLitTeacher(nn.Module):
    """The same network on the well-lit partner, as a teacher of features.

    Args:
        taps (Sequence[str], optional): Backbone layers whose outputs are compared, as in
            ``backbone.named_modules()``. The paper's are ``conv1`` (before its batch norm)
            and ``layer1`` to ``layer4`` of a ResNet. Defaults to those of the backbone's family, see
            :mod:`exlpose_mm.models.defaults`.
        loss (dict, optional): Config of a loss that takes two lists of features, as a
            :class:`~exlpose_mm.models.losses.TapLoss` does. Defaults to
            :class:`~exlpose_mm.models.losses.GramLoss` with a weight by backbone and head.

    Raises:
        ValueError: If ``taps`` is empty.
    """

    def __init__(self, taps: Sequence[str] | None = None, loss: ConfigType | None = None) -> None:
        super().__init__()
        if taps is not None and not taps:
            raise ValueError('the well-lit teacher needs at least one backbone layer in `taps`')
        self.taps = list(taps or ())
        self.loss_module: Any = None if loss is None else MODELS.build(loss)

    def meet(self, backbone: nn.Module, head: nn.Module) -> None:
        """Choose what was not given by what is known of this backbone and head.

        Raises:
            ValueError: If nothing is.
        """
        self.taps = self.taps or default_taps(backbone)
        self.loss_module = self.loss_module or default_style_loss(backbone, head)

    def loss(self, taps: dict[str, dict[str, Tensor]]) -> dict:
        """Compare what both lightings left in the taps.

        Args:
            taps (dict): Lighting to layer name to features (B, C, H, W).

        Returns:
            dict: ``loss_gram`` (or by another name of the loss), a list of one scalar per layer, and for the log
            each of them as ``gram.<layer>``.

        Raises:
            ValueError: If a tapped layer did not run, or its features differ in shape.
        """
        self._check(taps)
        names = list(taps['low_light'])
        losses = self.loss_module([taps['low_light'][n] for n in names], [taps['well_lit'][n] for n in names])
        of = getattr(self.loss_module, 'name', type(self.loss_module).__name__)
        return {f'loss_{of}': losses, **{f'{of}.{name}': loss.detach() for name, loss in zip(names, losses)}}

    def _check(self, taps: dict[str, dict[str, Tensor]]) -> None:
        low_light, well_lit = ({name: tuple(x.shape) for name, x in taps[lit].items()} for lit in LIGHTINGS)
        silent = [name for name in self.taps if not any(f'{known}.'.startswith(f'{name}.') for known in low_light)]
        if silent:
            raise ValueError(f'the backbone did not run the tapped layers {silent}; choose taps among those it runs')
        for name in low_light:
            if low_light[name] != well_lit.get(name):
                raise ValueError(
                    f'the tapped layer {name} has features of the shape {low_light[name]} in low light, '
                    f'but {well_lit.get(name)} in a well-lit image: give both images one size'
                )


@dataclass(frozen=True)
class Lesson:
    """What the momentum teacher has to say of a batch.

    Args:
        distillation (Distillation | DenseDistillation): How the student's output is compared to it.
        output (list[Tensor], optional): Its output on the low-light images; None during its burn-in.
    """

    distillation: Distillation | DenseDistillation
    output: list[Tensor] | None

    @property
    def layers(self) -> list[str]:
        """Layers of the wrapped head whose outputs are compared."""
        return self.distillation.output.layers

    def loss(self, outputs: dict[str, list[Tensor]], samples: SampleList, views: BatchViews) -> dict:
        """As :class:`~exlpose_mm.models.distillation.Distillation`."""
        return self.distillation(outputs, self.output, samples, views)


class MomentumTeacher(nn.Module):
    """A moving average of the network, as a teacher of outputs. It has no gradients.

    It is always in evaluation mode, and equal to the network until its first update. Its
    weights and its count of updates are part of the model's state dict, so that checkpoints and
    resumed runs have them. :class:`~exlpose_mm.engine.hooks.momentum_teacher.MomentumTeacherHook` updates it.

    Args:
        network (nn.ModuleDict): ``backbone``, ``neck`` (if any) and ``head``; copied.
        average (dict): Config of one of mmengine's averaged models. Defaults to
            ``MomentumAnnealingEMA`` with a momentum (the new weights' share) of 0.01.
        burn_in (int): Updates before which it does not teach. Defaults to 0.
        loss (dict): Arguments of :class:`~exlpose_mm.models.distillation.Distillation`, or of
            :class:`~exlpose_mm.models.dense_distillation.DenseDistillation` for bottom-up heads, beside the head.

    Attributes:
        updates (int): How often it was updated; the first time it becomes equal to the network.

    Raises:
        ValueError: If ``burn_in`` is negative, or as ``Distillation``.
    """

    distillation: Distillation | DenseDistillation

    def __init__(
        self,
        network: nn.ModuleDict,
        average: ConfigType = dict(type='MomentumAnnealingEMA', momentum=0.01),
        burn_in: int = 0,
        loss: ConfigType = {},
    ) -> None:
        super().__init__()
        if burn_in < 0:
            raise ValueError(f'burn_in is a number of updates, got {burn_in}')
        self.average = MODELS.build(dict(average, model=network, update_buffers=True))
        self.burn_in = burn_in
        self.updates = 0
        self.distillation = distillation_of(network['head'], **loss)
        self.register_load_state_dict_post_hook(MomentumTeacher._count_anew)
        self.train(False)

    @property
    def network(self) -> nn.ModuleDict:
        """The averaged ``backbone``, ``neck`` (if any) and ``head``."""
        return self.average.module

    @property
    def teaches(self) -> bool:
        """Whether the burn-in is over."""
        return self.updates > self.burn_in

    def train(self, mode: bool = True) -> 'MomentumTeacher':
        """Stay in evaluation mode."""
        return super().train(False)

    def update(self, network: nn.ModuleDict) -> None:
        """Move towards the network, batch norm statistics included."""
        # mmengine keeps tensors from the time of building, which the module left by `.to(device)`.
        own = self.average.avg_parameters = self.network.state_dict()
        share = self._share()
        if share is None:
            self.average.update_parameters(network)
        else:
            theirs = network.state_dict()
            names = [name for name, tensor in own.items() if tensor.is_floating_point()]
            torch._foreach_lerp_([own[name] for name in names], [theirs[name] for name in names], share)
            self.average.steps += 1
        self.updates += 1

    def _share(self) -> float | None:
        """The new weights', where mmengine's average is one that needs no more; it asks the device for each tensor."""
        average = self.average
        if self.updates == 0 or average.interval != 1:
            return None
        if type(average) is MomentumAnnealingEMA:
            return max(average.momentum, average.gamma / (average.gamma + self.updates))
        return average.momentum if type(average) is ExponentialMovingAverage else None

    def _count_anew(self, _incompatible_keys: object) -> None:
        self.updates = int(self.average.steps)

    def lesson(self, inputs: dict[str, Tensor]) -> Lesson | None:
        """What it has to say of a batch; None if that has no low-light image.

        Args:
            inputs (dict): View to images (B', 3, H, W). Without :data:`~exlpose_mm.views.MOMENTUM_VIEW` it sees
                the student's images.

        Raises:
            ValueError: If some low-light images come with a view for it and some without.
        """
        images = inputs.get('low_light')
        if images is None:
            return None
        if not self.teaches:
            return Lesson(self.distillation, None)
        views = inputs.get(MOMENTUM_VIEW, images)
        if len(views) != len(images):
            raise ValueError(
                f'{len(images)} low-light images, but {len(views)} views of them for the momentum '
                'teacher: put AddMomentumView into all pipelines that load low-light images, or into none'
            )
        return Lesson(self.distillation, self(views))

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        """What the average puts out for low-light images (B, 3, H, W), of the layers that are compared."""
        layers = self.distillation.output.layers
        with lighting(self.network, 'low_light'), tap(self.network['head'], layers) as outputs:
            feats = self.network['backbone'](images)
            if 'neck' in self.network:
                feats = self.network['neck'](feats)
            self.network['head'].forward(feats)
        return [outputs[name] for name in layers]
