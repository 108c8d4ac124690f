"""Passes of both lightings through one network, as pose estimators and detectors have them.

A network has a ``backbone``, perhaps a ``neck``, ``extract_feat`` that runs both, and ``separate_passes``.
"""

from typing import Any

import torch
from torch import Tensor, nn

from exlpose_mm.lighting import check_lsbn, check_without_checkpointing, lighting, lsbn_layers, specific_parts, tap
from exlpose_mm.models.transfer import select
from exlpose_mm.views import BatchViews

Features = dict[str, Any]
"""Lighting to what ``extract_feat`` returns."""
Taps = dict[str, dict[str, Tensor]]
"""Lighting to layer name to features (B, C, H, W)."""


def check_norms(part: nn.Module, cfg: dict) -> None:
    """Raise ``ValueError`` if a part was told to use LSBN and does not everywhere, or recomputes it.

    Args:
        part (nn.Module): Backbone, neck or head.
        cfg (dict): Its config.
    """
    if (cfg.get('norm_cfg') or {}).get('type') == 'LSBN2d' or lsbn_layers(part):
        check_lsbn(part)
    check_without_checkpointing(part)


def check_norms_learn(part: nn.Module, partly: bool = False) -> None:
    """Raise ``ValueError`` if LSBN keeps its statistics in training, which then are of neither lighting.

    Args:
        part (nn.Module): Backbone, neck or head.
        partly (bool): Whether it is enough that some of it learns. Stages are frozen on purpose where nothing does
            so by default, as where a checkpoint has learned both lightings.
    """
    part.train()
    layers = lsbn_layers(part)
    names = {id(layer): name for name, layer in part.named_modules()}
    fixed = [names[id(layer)] for layer in layers if not all(bn.training for bn in layer.bns)]
    if fixed and not (partly and len(fixed) < len(layers)):
        raise ValueError(
            f'{type(part).__name__} keeps the statistics of {len(fixed)} of its LSBN2d layers ({", ".join(fixed[:3])}) '
            'in training, so that they never become those of a lighting: set norm_eval=False and frozen_stages=-1'
        )


def has_specific_features(model: Any) -> bool:
    """Whether backbone or neck has LSBN or a denoiser, which by default run under one lighting at a time."""
    return bool(specific_parts(model.backbone) or model.with_neck and specific_parts(model.neck))


def extract(model: Any, inputs: dict[str, Tensor], taps: list[str]) -> tuple[Features, Taps]:
    """By :func:`extract_each` or :func:`extract_jointly`, as ``model.separate_passes`` says."""
    return (extract_each if model.separate_passes else extract_jointly)(model, inputs, taps)


def extract_each(model: Any, inputs: dict[str, Tensor], taps: list[str]) -> tuple[Features, Taps]:
    """A pass for each lighting.

    Args:
        model (nn.Module): The network.
        inputs (dict): Lighting to images (B', 3, H, W).
        taps (list[str]): Backbone layers whose outputs are wanted.
    """
    feats: Features = {}
    tapped: Taps = {}
    for name, images in inputs.items():
        with lighting(model, name), tap(model.backbone, taps) as tapped[name]:
            feats[name] = model.extract_feat(images)
    return feats, tapped


def extract_jointly(model: Any, inputs: dict[str, Tensor], taps: list[str]) -> tuple[Features, Taps]:
    """As :func:`extract_each`, in one pass of both, in which LSBN and a denoiser tell the rows of one from the other's.

    It is the same but for rounding if there is LSBN, and takes half the kernels of all but the norms.
    """
    rows = {name: len(images) for name, images in inputs.items()}
    sizes = [*rows.values()]
    with lighting(model, rows), tap(model.backbone, taps) as outputs:
        joint = model.extract_feat(torch.cat([*inputs.values()]))
    feats = dict(zip(inputs, zip(*(x.split(sizes) for x in joint))))
    tapped = {name: {key: x.split(sizes)[i] for key, x in outputs.items()} for i, name in enumerate(inputs)}
    return feats, tapped


def of_pairs(taps: Taps, views: BatchViews) -> Taps:
    """What the taps have of those samples that are pairs."""
    return {name: {layer: select(x, views.pairs[name]) for layer, x in of.items()} for name, of in taps.items()}
