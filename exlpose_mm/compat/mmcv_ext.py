"""What ``mmcv.ops`` asks of the compiled ``mmcv._ext``, where that is not installed.

``startup/exlpose_mm_startup.py`` supplies this file under the name ``mmcv._ext``. The operators here are those with an
equal in torchvision, and deformable attention, for which mmcv has a formula in torch; signatures and layouts are
mmcv's. Any other operator can be imported, and raises :class:`MissingOperatorError` when it is called.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import torch
import torchvision.ops
from torch import Tensor
from torch.nn.functional import grid_sample, one_hot


class MissingOperatorError(NotImplementedError):
    """An operator of mmcv was called that only the compiled mmcv has."""


def get_compiler_version() -> str:
    return 'not compiled'


get_compiling_cuda_version = get_compiler_version


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float, offset: int = 0) -> Tensor:
    """Indices of the boxes (N, 4) that are kept; a box's width is ``x2 - x1 + offset``."""
    return torchvision.ops.nms(torch.cat([bboxes[:, :2], bboxes[:, 2:] + offset], dim=1), scores, iou_threshold)


def roi_align_forward(
    input: Tensor, rois: Tensor, output: Tensor, argmax_y: Tensor, argmax_x: Tensor, **kwargs: Any
) -> None:
    output.copy_(_roi_align(rois, **kwargs)(input))


def roi_align_backward(
    grad_output: Tensor, rois: Tensor, argmax_y: Tensor, argmax_x: Tensor, grad_input: Tensor, **kwargs: Any
) -> None:
    grad_input.add_(_gradients(_roi_align(rois, **kwargs), [torch.zeros_like(grad_input)], grad_output)[0])


def _roi_align(
    rois: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> Callable[[Tensor], Tensor]:
    if pool_mode != 1:
        _missing('roi_align with pool_mode="max"')
    return lambda input: torchvision.ops.roi_align(
        input, rois, (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned
    )


def deform_conv_forward(
    input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor, **kwargs: Any
) -> None:
    output.copy_(_deform_conv(**kwargs)(input, offset, weight))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **kwargs: Any,
) -> None:
    gradients = _gradients(_deform_conv(**kwargs), [input, offset, weight], grad_output)
    grad_input.copy_(gradients[0])
    grad_offset.copy_(gradients[1])
    # A buffer, which mmcv hands over to the next call for the same layer and gradient: that has nothing left to do.
    columns.resize_as_(weight).copy_(gradients[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **kwargs: Any,
) -> None:
    if columns.shape == grad_weight.shape:
        grad_weight.add_(columns, alpha=scale)
        return
    convolve = _deform_conv(**kwargs)
    gradients = _gradients(lambda weight: convolve(input, offset, weight), [torch.zeros_like(grad_weight)], grad_output)
    grad_weight.add_(gradients[0], alpha=scale)


def _deform_conv(
    *, dH: int, dW: int, padH: int, padW: int, dilationH: int, dilationW: int, **kwargs: Any
) -> Callable[..., Tensor]:
    """Kernel size, groups and the step of im2col, which are left, follow from the shapes or do not matter."""
    return partial(_deform_conv2d, stride=(dH, dW), padding=(padH, padW), dilation=(dilationH, dilationW))


def _deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """torchvision's; on a CPU the same by ``grid_sample``, whose backward pass is six times as fast there.

    Legend: B: batch, C: channels, G: deformable groups, (H, W): size in, (h, w): size out, N: cells of the kernel.
    """
    if input.device.type != 'cpu':
        return torchvision.ops.deform_conv2d(input, offset, weight, None, stride, padding, dilation)
    batch, channels, height, width = input.shape
    out_channels, channels_of_group, *kernel = weight.shape
    cells = kernel[0] * kernel[1]
    offsets = offset.unflatten(1, (-1, cells, 2))  # (B, G, N, 2, h, w), y before x
    groups, (rows, columns) = offsets.shape[1], offsets.shape[-2:]
    places = [
        (torch.arange(k)[:, None] * d + torch.arange(size) * s - p).to(input)
        for k, d, size, s, p in zip(kernel, dilation, (rows, columns), stride, padding)
    ]
    y = offsets[:, :, :, 0] + places[0].repeat_interleave(kernel[1], dim=0)[:, :, None]
    x = offsets[:, :, :, 1] + places[1].repeat(kernel[0], 1)[:, None, :]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    maps = input.reshape(batch * groups, -1, height, width)
    samples = grid_sample(maps, grid.view(batch * groups, cells * rows, columns, 2), align_corners=False)
    samples = samples.view(batch, channels // channels_of_group, channels_of_group * cells, rows * columns)
    kernels = weight.view(samples.shape[1], -1, channels_of_group * cells)
    return (kernels @ samples).view(batch, out_channels, rows, columns)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    **kwargs: Any,
) -> None:
    output.copy_(_modulated_deform_conv(**kwargs)(input, weight, bias, offset, mask))


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    **kwargs: Any,
) -> None:
    gradients = _gradients(_modulated_deform_conv(**kwargs), [input, weight, bias, offset, mask], grad_output)
    for to, gradient in zip((grad_input, grad_weight, grad_bias, grad_offset, grad_mask), gradients):
        if gradient is not None:
            to.add_(gradient)


def _modulated_deform_conv(
    *,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    with_bias: bool,
    **kwargs: Any,
) -> Callable[..., Tensor]:
    def convolve(input: Tensor, weight: Tensor, bias: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        return torchvision.ops.deform_conv2d(
            input,
            offset,
            weight,
            bias if with_bias else None,
            (stride_h, stride_w),
            (pad_h, pad_w),
            (dilation_h, dilation_w),
            mask,
        )

    return convolve


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    output.copy_(_sigmoid_focal_loss(target, weight, gamma, alpha)(input))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    loss = _sigmoid_focal_loss(target, weight, gamma, alpha)
    grad_input.copy_(_gradients(loss, [input], torch.ones_like(input))[0])


def _sigmoid_focal_loss(target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Callable[[Tensor], Tensor]:
    def loss(input: Tensor) -> Tensor:
        classes = input.shape[1]  # a target of as many is background
        losses = torchvision.ops.sigmoid_focal_loss(
            input, one_hot(target, classes + 1)[:, :classes].to(input), alpha, gamma
        )
        return losses * torch.cat([weight, weight.new_zeros(1)])[target][:, None] if weight.numel() else losses

    return loss


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    return _ms_deform_attn(spatial_shapes)(value, sampling_locations, attention_weights)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    gradients = _gradients(_ms_deform_attn(spatial_shapes), [value, sampling_locations, attention_weights], grad_output)
    for to, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), gradients):
        to.add_(gradient)


def _ms_deform_attn(spatial_shapes: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return lambda value, *rest: multi_scale_deformable_attn_pytorch(value, spatial_shapes, *rest)


def _gradients(function: Callable[..., Tensor], inputs: Sequence[Tensor], grad_output: Tensor) -> tuple[Tensor, ...]:
    """Of ``function(*inputs)`` by each input; None where it does not depend on one."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in inputs]
        return torch.autograd.grad(function(*leaves), leaves, grad_output, allow_unused=True)


def _missing(operator: str, *args: Any, **kwargs: Any) -> NoReturn:
    raise MissingOperatorError(
        f"mmcv's operator {operator} is compiled code, and mmcv-lite has none. Install the compiled mmcv in its place: "
        'pip uninstall mmcv-lite, then mim install mmcv==2.1.0'
    )


def __getattr__(name: str) -> Callable[..., NoReturn]:
    if name.startswith('__'):
        raise AttributeError(name)
    return partial(_missing, name)
