"""Lighting conditions, parts of a network that are specific to one, batch norms (LSBN) first, and taps.

The paper (Lee et al., CVPR 2023, section 4) normalises low-light and well-lit
features separately while both lightings share every convolution.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

LIGHTINGS = ('low_light', 'well_lit')
"""The two lighting conditions. Their order is the index of LSBN's copies."""


class LightingError(RuntimeError):
    """An LSBN layer or a denoiser ran outside of a ``with lighting(...)`` block."""


def check_lighting(name: str | Sequence[str]) -> str:
    """Return ``name`` if it is one of :data:`LIGHTINGS`, else raise ``ValueError``."""
    if not isinstance(name, str) or name not in LIGHTINGS:
        raise ValueError(f'unknown lighting {name!r}; use one of {LIGHTINGS}')
    return name


class LightingSpecific(nn.Module):
    """A part of a network that does one thing in low light and another on well-lit images: see :meth:`under`.

    Attributes:
        active (str | dict, optional): Which of the two, or how many rows of a batch are of which, set by
            :func:`lighting`.
    """

    active: str | dict[str, int] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Of a batch of one lighting, or of both, each by itself."""
        if isinstance(self.lit, str):
            return self.under(self.lit, x)
        return torch.cat([self.under(*part) for part in zip(self.lit, x.split([*self.lit.values()]))])

    def under(self, name: str, x: Tensor) -> Tensor:
        """What it makes of a batch of one lighting, one of :data:`LIGHTINGS`."""
        raise NotImplementedError

    @property
    def lit(self) -> str | dict[str, int]:
        """The lighting of its input.

        Raises:
            LightingError: Outside of :func:`lighting`.
        """
        if self.active is None:
            raise LightingError(
                f'{type(self).__name__} does not know the lighting of its input: run the network inside '
                "`with lighting(network, 'low_light')`. With activation checkpointing "
                '(with_cp=True) the backward pass runs outside of it: set with_cp=False.'
            )
        return self.active


@MODELS.register_module()
class LSBN2d(LightingSpecific):
    """Lighting-specific batch normalisation: one ``BatchNorm2d`` per lighting.

    ``bns[0]`` normalises low light, ``bns[1]`` well-lit features. Which one runs, or which on
    which rows, is set by :func:`lighting`. Use it in any backbone that honours ``norm_cfg``::

        backbone=dict(type='ResNet', depth=50, norm_cfg=dict(type='LSBN2d'))

    A state dict with plain batch norm entries (``weight``, ``bias``, ``running_*``)
    loads strictly: it is copied into both lightings, as the official code starts
    both from ImageNet's. The official keys (``bns.{0,1}.*``) load as they are.

    Args:
        num_features (int): Number of channels C.
        **kwargs: As for :class:`torch.nn.BatchNorm2d`.

    Shape: (B, C, H, W) to (B, C, H, W). B: batch, C: channels.

    Raises:
        LightingError: ``forward`` outside of :func:`lighting`. This includes the
            recomputation of activation checkpointing (``with_cp=True``), which
            happens after the block was left.
    """

    # mmcv derives the submodule names of backbones ('bn1', ...) from this.
    _abbr_ = 'bn'

    def __init__(self, num_features: int, **kwargs: Any) -> None:
        super().__init__()
        self.num_features = num_features
        self.bns = nn.ModuleList(nn.BatchNorm2d(num_features, **kwargs) for _ in LIGHTINGS)

    def under(self, name: str, x: Tensor) -> Tensor:
        return self.bns[LIGHTINGS.index(name)](x)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any) -> None:
        names = set(self.bns[0].state_dict())
        for name in names & {key[len(prefix) :] for key in state_dict if key.startswith(prefix)}:
            value = state_dict.pop(prefix + name)
            for i in range(len(LIGHTINGS)):
                state_dict[f'{prefix}bns.{i}.{name}'] = value
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def lsbn_layers(module: nn.Module) -> list[LSBN2d]:
    """All :class:`LSBN2d` layers in ``module``."""
    return [m for m in module.modules() if isinstance(m, LSBN2d)]


def specific_parts(module: nn.Module) -> list[LightingSpecific]:
    """All parts of ``module`` that do different things in different lightings, LSBN among them."""
    return [m for m in module.modules() if isinstance(m, LightingSpecific)]


@contextmanager
def lighting(module: nn.Module, name: str | dict[str, int]) -> Iterator[None]:
    """Run ``module`` under one lighting: every LSBN in it uses that copy, a denoiser works in low light only.

    A module without such parts is left as it is. Blocks nest; leaving one restores what was
    active before, also after an exception.

    Args:
        module (nn.Module): The network, or any part of it.
        name (str | dict): One of :data:`LIGHTINGS`; or of a batch of both, lighting to its number of rows, in their
            order.

    Raises:
        ValueError: If ``name`` is not a lighting.
    """
    for one in name if isinstance(name, dict) else [name]:
        check_lighting(one)
    parts = specific_parts(module)
    before = [part.active for part in parts]
    try:
        for part in parts:
            part.active = name
        yield
    finally:
        for part, active in zip(parts, before):
            part.active = active


@contextmanager
def tap(module: nn.Module, layers: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the outputs of named submodules while the block is open.

    Args:
        module (nn.Module): The network.
        layers (Iterable[str]): Submodule names as in ``module.named_modules()``.

    Yields:
        dict: Name to output (B, C, H, W), filled by each forward pass. A layer that
        returns several maps (HRNet's stages) fills ``name.0``, ``name.1``, ....

    Raises:
        ValueError: If a name is no submodule of ``module``.
    """
    layers = list(layers)
    check_taps(module, layers)
    taps: dict[str, Tensor] = {}

    def hook(name: str) -> Callable[[nn.Module, tuple, Tensor | Sequence[Tensor]], None]:
        def keep(_module: nn.Module, _inputs: tuple, output: Tensor | Sequence[Tensor]) -> None:
            if isinstance(output, Tensor):
                taps[name] = output
            else:
                taps.update({f'{name}.{i}': out for i, out in enumerate(output)})

        return keep

    with ExitStack() as stack:
        for name in layers:
            handle = module.get_submodule(name).register_forward_hook(hook(name))
            stack.callback(handle.remove)
        yield taps


def check_taps(module: nn.Module, layers: Iterable[str]) -> None:
    """Raise ``ValueError`` if a layer name is no submodule of ``module``."""
    unknown = [name for name in layers if not name or not _has_submodule(module, name)]
    if unknown:
        top = [name for name, _ in module.named_children()]
        raise ValueError(
            f'{type(module).__name__} has no layer {unknown}; its top-level layers '
            f'are {top}, deeper ones are written with dots'
        )


def _has_submodule(module: nn.Module, name: str) -> bool:
    try:
        module.get_submodule(name)
    except AttributeError:
        return False
    return True


def check_lsbn(module: nn.Module) -> None:
    """Raise ``ValueError`` unless every batch norm of ``module`` is lighting-specific.

    Some backbones build part of their norms without looking at ``norm_cfg``; such a
    network would mix the statistics of both lightings silently. A backbone of layer norms
    would build, but LSBN2d cannot normalise tokens (B, N, C).
    """
    inside = {id(bn) for layer in lsbn_layers(module) for bn in layer.bns}
    bare = [name for name, m in module.named_modules() if isinstance(m, _BatchNorm) and id(m) not in inside]
    kind = type(module).__name__
    if _default_norm(module) == 'LN':
        raise ValueError(
            f'{kind} takes layer norms, which keep no statistics that lightings could '
            'mix; leave LSBN2d out of its norm_cfg'
        )
    if not inside:
        raise ValueError(
            f'{kind} has no batch norm that norm_cfg=dict(type="LSBN2d") could '
            'replace; use one with BN, or leave LSBN2d out'
        )
    if bare:
        raise ValueError(
            f'{kind} ignores norm_cfg in {len(bare)} layers ({", ".join(bare[:3])}, '
            '...), which stay shared by both lightings; use another'
        )


def check_without_checkpointing(module: nn.Module) -> None:
    """Raise ``ValueError`` if ``module`` has LSBN and recomputes activations in the backward pass.

    That is after the ``with lighting(...)`` block was left.
    """
    recomputed = [name or 'itself' for name, m in module.named_modules() if getattr(m, 'with_cp', False)]
    if recomputed and lsbn_layers(module):
        raise ValueError(
            f'{type(module).__name__} recomputes {len(recomputed)} layers ({", ".join(recomputed[:3])}) '
            'in the backward pass, where LSBN2d does not know the lighting: set with_cp=False'
        )


def _default_norm(module: nn.Module) -> str | None:
    """Type of the norms that a backbone's class takes by default."""
    parameter = inspect.signature(type(module)).parameters.get('norm_cfg')
    default = parameter.default if parameter else None
    return default.get('type') if isinstance(default, dict) else None
