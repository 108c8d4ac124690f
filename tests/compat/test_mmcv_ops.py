"""Operators of ``mmcv.ops`` against their formulas, spelled out; mmcv compiled or not, they are to be the same."""

import multiprocessing
import subprocess
import sys
from itertools import product

import mmcv._ext
import numpy as np
import pytest
import torch
from mmcv.ops import batched_nms, deform_conv2d, modulated_deform_conv2d, nms, roi_align, sigmoid_focal_loss
from torch import Tensor

import exlpose_mm

STAND_IN = mmcv._ext.__file__.endswith('mmcv_ext.py')
not_compiled = pytest.mark.skipif(not STAND_IN, reason='the compiled mmcv has it on a GPU only')


@pytest.fixture
def boxes():
    """(40, 4) boxes that overlap, and distinct scores."""
    draw = torch.Generator().manual_seed(0)
    corners = torch.rand(40, 2, generator=draw) * 30
    return torch.cat([corners, corners + 5 + 20 * torch.rand(40, 2, generator=draw)], 1), torch.rand(40, generator=draw)


def kept(boxes: np.ndarray, scores: np.ndarray, threshold: float, offset: int) -> list:
    """Greedy suppression, box by box."""
    result = []
    for i in np.argsort(-scores):
        overlaps = []
        for j in result:
            width, height = (
                min(boxes[i][k + 2], boxes[j][k + 2]) - max(boxes[i][k], boxes[j][k]) + offset for k in range(2)
            )
            common = max(width, 0) * max(height, 0)
            areas = [(b[2] - b[0] + offset) * (b[3] - b[1] + offset) for b in (boxes[i], boxes[j])]
            overlaps.append(common / (sum(areas) - common))
        if not any(overlap > threshold for overlap in overlaps):
            result.append(i)
    return result


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('threshold', [0.1, 0.4, 0.6])
def test_nms(boxes, threshold, offset):
    detections, indices = nms(*boxes, iou_threshold=threshold, offset=offset)
    expected = kept(*map(np.asarray, boxes), threshold, offset)
    assert 1 < len(expected) < 40 and indices.tolist() == expected
    assert torch.equal(detections[:, 4], boxes[1][expected])


def test_batched_nms_keeps_classes_apart(boxes):
    classes = torch.arange(40) % 2
    _, indices = batched_nms(*boxes, classes, dict(type='nms', iou_threshold=0.3))
    expected = [
        i
        for c in range(2)
        for i in torch.nonzero(classes == c)
        .flatten()[kept(*(np.asarray(part[classes == c]) for part in boxes), 0.3, 0)]
        .tolist()
    ]
    assert sorted(indices.tolist()) == sorted(expected)


def bilinear(image: Tensor, y: float, x: float) -> Tensor:
    """(C,) of (C, H, W) at a position; zero outside."""
    total = image.new_zeros(len(image))
    for row, column in product((int(np.floor(y)), int(np.floor(y)) + 1), (int(np.floor(x)), int(np.floor(x)) + 1)):
        if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
            total = total + image[:, row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def agrees(function, spelled, *inputs: Tensor) -> None:
    """Values and gradients of two functions by all inputs, in double precision."""
    results = []
    for f in (function, spelled):
        leaves = [tensor.double().requires_grad_() for tensor in inputs]
        value = f(*leaves)
        weights = torch.linspace(-1, 1, value.numel(), dtype=torch.double).view_as(value)
        results.append((value, *torch.autograd.grad((value * weights).sum(), leaves)))
    for ours, expected in zip(*results):
        assert expected.abs().max() > 0.01
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align(aligned):
    image = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    rois = torch.tensor([[1, 4.5, 2.0, 17.0, 14.0], [0, 6.0, 6.0, 12.5, 13.0]], dtype=torch.double)

    def spelled(image: Tensor) -> Tensor:
        out = []
        for roi in rois:
            x0, y0, x1, y1 = roi[1:] / 2 - (0.5 if aligned else 0)
            out += [
                sum(
                    bilinear(
                        image[int(roi[0])],
                        float(y0 + (y1 - y0) * (row + (i + 0.5) / 2) / 3),
                        float(x0 + (x1 - x0) * (column + (j + 0.5) / 2) / 2),
                    )
                    for i in range(2)
                    for j in range(2)
                )
                / 4
                for row in range(3)
                for column in range(2)
            ]
        return torch.stack(out).view(2, 3, 2, 3).permute(0, 3, 1, 2)

    agrees(lambda image: roi_align(image, rois, (3, 2), 0.5, 2, 'avg', aligned), spelled, image)


@pytest.mark.parametrize('groups', [1, 2])
@pytest.mark.parametrize('modulated', [False, True])
def test_deformable_convolution(modulated, groups):
    draw = torch.Generator().manual_seed(0)
    image, weight, bias = (
        torch.randn(*shape, generator=draw) for shape in ((1, 4, 5, 6), (2, 4 // groups, 3, 3), (2,))
    )
    offset = torch.randn(1, 2 * 2 * 9, 3, 3, generator=draw)
    mask = torch.rand(1, 2 * 9, 3, 3, generator=draw)
    options = dict(stride=2, padding=1, dilation=1, groups=groups, deform_groups=2)

    def spelled(
        image: Tensor,
        offset: Tensor,
        weight: Tensor,
        mask: Tensor = torch.ones(1, 18, 3, 3).double(),
        bias: Tensor = torch.zeros(2).double(),
    ) -> Tensor:
        out = []
        for channel, row, column in product(range(2), range(3), range(3)):
            value = bias[channel]
            for tap, inner in product(range(9), range(4 // groups)):
                source = inner + (channel * groups // 2) * (4 // groups)
                group = source // 2
                dy, dx = offset[0, (group * 9 + tap) * 2 : (group * 9 + tap) * 2 + 2, row, column]
                y, x = row * 2 - 1 + tap // 3 + dy, column * 2 - 1 + tap % 3 + dx
                value = value + (
                    weight[channel, inner, tap // 3, tap % 3]
                    * mask[0, group * 9 + tap, row, column]
                    * sampled(image[0, source], y, x)
                )
            out.append(value)
        return torch.stack(out).view(1, 2, 3, 3)

    def sampled(plane: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """As :func:`bilinear`, with gradients by the position."""
        total = plane.new_zeros(())
        for row, column in product((int(y.floor()), int(y.floor()) + 1), (int(x.floor()), int(x.floor()) + 1)):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total = total + plane[row, column] * (1 - (y - row).abs()) * (1 - (x - column).abs())
        return total

    if modulated:
        agrees(
            lambda i, o, w, m, b: modulated_deform_conv2d(i, o, m, w, b, *options.values()),
            spelled,
            image,
            offset,
            weight,
            mask,
            bias,
        )
    else:
        agrees(lambda i, o, w: deform_conv2d(i, o, w, *options.values()), spelled, image, offset, weight)


@not_compiled
@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss(weighted):
    draw = torch.Generator().manual_seed(0)
    target = torch.tensor([0, 2, 3, 1, 3])  # 3 is background
    weight = torch.rand(3, generator=draw).double() if weighted else None

    def spelled(logits: Tensor) -> Tensor:
        total = logits.new_zeros(())
        for row, column in product(range(5), range(3)):
            p = logits[row, column].sigmoid()
            loss = -0.25 * (1 - p) ** 2 * p.log() if target[row] == column else -0.75 * p**2 * (1 - p).log()
            factor = 1 if weight is None else 0 if target[row] == 3 else weight[target[row]]
            total = total + factor * loss
        return (total / 5)[None]

    agrees(
        lambda logits: sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, 'mean')[None],
        spelled,
        2 * torch.randn(5, 3, generator=draw),
    )


@not_compiled
def test_deformable_attention_on_a_gpu_takes_the_same_formula_as_on_a_cpu():
    """mmcv takes the extension on a GPU, so its two functions are called by hand."""
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction, multi_scale_deformable_attn_pytorch

    draw = torch.Generator().manual_seed(0)
    shapes, start = torch.tensor([[4, 3], [2, 2]]), torch.tensor([0, 12])
    agrees(
        lambda v, at, a: MultiScaleDeformableAttnFunction.apply(v, shapes, start, at, a, 64),
        lambda v, at, a: multi_scale_deformable_attn_pytorch(v, shapes, at, a),
        torch.randn(1, 16, 2, 4, generator=draw),
        torch.rand(1, 5, 2, 2, 3, 2, generator=draw),
        torch.rand(1, 5, 2, 2, 3, generator=draw),
    )


@not_compiled
@pytest.mark.parametrize(
    'call, name',
    [
        ('mmcv.ops.box_iou_rotated(torch.ones(1, 5), torch.ones(1, 5))', 'box_iou_rotated'),
        (
            'mmcv.ops.RoIAlign(2, pool_mode="max")(torch.ones(1, 1, 4, 4), torch.tensor([[0., 0, 0, 3, 3]]))',
            'roi_align',
        ),
    ],
)
def test_other_operators_say_what_to_install(call, name):
    from exlpose_mm.compat.mmcv_ext import MissingOperatorError

    with pytest.raises(NotImplementedError, match=f'{name}.*mim install mmcv') as error:
        eval(call)
    assert type(error.value).__name__ == MissingOperatorError.__name__


def test_environment_can_be_collected():
    from mmcv.utils import collect_env

    compiler = collect_env()['MMCV Compiler']
    assert (compiler == 'not compiled') == STAND_IN


@pytest.mark.parametrize(
    'first',
    ['import mmpose.apis', 'import exlpose_mm', 'import mmdet.models, mmpose.models', 'from mmcv.ops import nms'],
)
def test_imports_in_any_order(first):
    """A new interpreter of an environment into which the package was installed."""
    done = subprocess.run(
        [sys.executable, '-c', f'{first}; import mmpose.apis, mmdet.apis, exlpose_mm, mmcv.ops'],
        capture_output=True,
        encoding='utf-8',
    )
    assert done.returncode == 0, done.stderr


def test_a_checkout_that_was_not_installed():
    code = (
        'import sys; sys.modules["exlpose_mm_startup"] = None\n'
        'sys.meta_path = [finder for finder in sys.meta_path if "MMCV" not in repr(finder)]\n'
        'import exlpose_mm, mmcv.ops, mmpose.apis'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, encoding='utf-8')
    assert done.returncode == 0, done.stderr


def test_spawned_workers(boxes):
    """Their first import is that of what they are to do."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        assert pool.apply(nms, (*boxes, 0.5))[1].tolist() == kept(*map(np.asarray, boxes), 0.5, 0)


def test_a_compiled_extension_is_found_first(tmp_path):
    """A file of that name beside ``mmcv`` stands for the compiled one."""
    (tmp_path / 'mmcv').mkdir()
    (tmp_path / 'mmcv' / '__init__.py').write_text('', encoding='utf-8')
    (tmp_path / 'mmcv' / '_ext.py').write_text('OWN = True', encoding='utf-8')
    code = (
        'import sys; sys.path.insert(0, sys.argv[1])\n'
        'import runpy; runpy.run_path(sys.argv[2])\n'
        'import mmcv._ext; assert mmcv._ext.OWN'
    )
    finder = exlpose_mm.exlpose_mm_startup.__file__
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path), finder], capture_output=True, encoding='utf-8')
    assert done.returncode == 0, done.stderr
