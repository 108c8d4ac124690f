"""Losses between lightings against loops that spell their formulas out."""

from unittest import mock

import pytest
import torch
from torch.nn.functional import cross_entropy

from exlpose_mm.models.losses import FeatureLoss, GramLoss, HeatmapCrossEntropyLoss, StyleDistance

# The last has fewer positions than a quarter of its channels, the one before has more.
SHAPES = [(4, 8, 6), (16, 4, 3), (12, 2, 2), (32, 2, 2)]


def features(batch=3, requires_grad=False, scale=1.0):
    torch.manual_seed(batch)
    return [scale * torch.randn(batch, *shape).double().float() for shape in SHAPES]


def official_lupi(low, well, weight):
    """Sum over samples and layers, as the official code: `weight * 0.2 * ... / 4` for 5 layers."""
    total = 0.0
    for f_low, f_well in zip(low, well):
        channels, positions = f_low.shape[1], f_low.shape[2] * f_low.shape[3]
        for b in range(len(f_low)):
            difference = 0.0
            for i in range(channels):
                for j in range(channels):
                    g_low = (f_low[b, i] * f_low[b, j]).sum()
                    g_well = (f_well[b, i] * f_well[b, j]).sum().detach()
                    difference = difference + (g_well - g_low) ** 2
            total = total + difference / channels**2 / positions**2 / len(low)
    return weight * total / 4


def test_devices_without_autocast():
    """As torch's ``mps`` was for long; ``meta`` is one on any machine."""
    low = torch.randn(2, 4, 3, 3, device='meta', requires_grad=True)
    (loss,) = GramLoss()([low], [torch.randn(2, 4, 3, 3, device='meta')])
    loss.backward()
    assert loss.shape == () and low.grad.shape == low.shape


@pytest.mark.parametrize('batch', [1, 3])
def test_equals_the_official_formula_in_value_and_gradient(batch):
    well = features(batch)
    low = [f.flip(0).roll(1, 1).mul(1.3).requires_grad_() for f in features(batch)]
    want = official_lupi(low, well, weight=1e-4)
    want_grads = torch.autograd.grad(want, low)
    got = sum(GramLoss(loss_weight=1e-4 * batch / 4)(low, well))
    got_grads = torch.autograd.grad(got, low)
    torch.testing.assert_close(got, want)
    for got_grad, want_grad in zip(got_grads, want_grads):
        torch.testing.assert_close(got_grad, want_grad)


def test_default_weight_is_the_official_one_at_batch_32():
    assert GramLoss().loss_weight == pytest.approx(1e-4 * 32 / 4)


@pytest.mark.parametrize('loss', [GramLoss(), FeatureLoss()])
def test_the_teacher_gets_no_gradient(loss):
    low, well = ([f.requires_grad_() for f in features()] for _ in range(2))
    sum(loss([2 * f for f in low], well)).backward()
    assert all(f.grad is None for f in well)
    assert all(f.grad.abs().sum() > 0 for f in low)


def test_zero_for_equal_styles_wherever_they_stand():
    low = features()
    shuffled = [f.flatten(2)[..., torch.randperm(f[0, 0].numel())].view_as(f) for f in low]
    assert sum(GramLoss(1.0)(shuffled, low)) < 1e-9
    assert sum(GramLoss(1.0)(shuffled, [1.1 * f for f in low])) > 1e-3


@pytest.mark.parametrize('loss', [GramLoss(), FeatureLoss()])
def test_the_batch_size_does_not_change_it(loss):
    low, well = features(1), [2 * f for f in features(1)]
    repeat = [[f.repeat(5, 1, 1, 1) for f in side] for side in (low, well)]
    torch.testing.assert_close(sum(loss(*repeat)), sum(loss(low, well)))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_features_do_not_overflow(dtype):
    low = [torch.full((1, 8, 64, 48), 200.0, dtype=dtype)]
    well = [torch.full((1, 8, 64, 48), 100.0, dtype=dtype)]
    with torch.autocast('cpu', torch.bfloat16):
        (loss,) = GramLoss(1.0)(low, well)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, torch.tensor((200.0**2 - 100.0**2) ** 2))


@pytest.mark.parametrize('loss', [GramLoss(), FeatureLoss()])
def test_shapes_that_differ(loss):
    with pytest.raises(ValueError, match=r'\(3, 4, 8, 6\).*\(3, 4, 8, 5\)'):
        loss(features()[:1], [features()[0][..., :5]])
    with pytest.raises(ValueError, match='4 low-light layers against 2'):
        loss(features(), features()[:2])


@pytest.mark.parametrize('shape', [(3, 5, 7), (3, 9, 2)])
def test_gradcheck_of_both_ways(shape):
    torch.manual_seed(0)
    student, teacher = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x: StyleDistance.apply(x, teacher), student.requires_grad_())


@pytest.mark.parametrize('alike', [1e-1, 1e-3, 1e-5])
@pytest.mark.parametrize('shape', [(2, 64, 8), (2, 16, 40)])
def test_no_cancellation_for_different_features_of_like_style(shape, alike):
    """In float32, against float64 Gram matrices: value and gradient."""
    torch.manual_seed(0)
    teacher = torch.randn(shape) + 2
    student = (teacher[..., torch.randperm(shape[2])] * (1 + alike)).requires_grad_()
    got = StyleDistance.apply(student, teacher)
    (got_grad,) = torch.autograd.grad(got, student)
    exact = student.detach().double().requires_grad_()
    want = ((exact @ exact.mT - teacher.double() @ teacher.double().mT) / shape[2]).square().mean()
    (want_grad,) = torch.autograd.grad(want, exact)
    assert got.item() == pytest.approx(want.item(), rel=max(1e-5, 1e-6 / alike))
    bound = max(1e-4, 1e-5 / alike) * want_grad.abs().max().item()
    torch.testing.assert_close(got_grad.double(), want_grad, rtol=0, atol=bound)


@pytest.mark.parametrize('device', ['cpu', 'meta'])
@pytest.mark.parametrize('channels, other_way', [(7, '_by_positions'), (8, '_by_channels'), (9, '_by_channels')])
def test_by_positions_where_they_are_a_quarter_of_the_channels(monkeypatch, channels, other_way, device):
    monkeypatch.setattr(StyleDistance, other_way, None)
    student = torch.ones(3, channels, 2, device=device)
    assert StyleDistance.apply(student, student).shape == ()


class InFloat32(StyleDistance):
    """What a GPU does, on the CPU."""

    @staticmethod
    def forward(ctx, student, teacher):
        with mock.patch.object(torch.Tensor, 'double', torch.Tensor.float):
            return StyleDistance.forward(ctx, student, teacher)


@pytest.mark.parametrize('alike', [1e-1, 1e-3, 1e-5])
def test_products_of_positions_in_float32(alike):
    """The gradient is as good as on the CPU; the value, where features differ more than their styles, not quite."""
    torch.manual_seed(0)
    teacher = torch.randn(2, 64, 8) + 2
    for student in (teacher * (1 + alike), teacher[..., torch.randperm(8)] * (1 + alike)):
        (value, grad), (want, want_grad) = (
            (out, torch.autograd.grad(out, x)[0])
            for distance in (InFloat32, StyleDistance)
            for x in [student.clone().requires_grad_()]
            for out in [distance.apply(x, teacher)]
        )
        spread = ((student - teacher) @ (student + teacher).mT / 8).square().mean().item()
        assert value.item() == pytest.approx(want.item(), rel=1e-5, abs=1e-6 * spread)
        torch.testing.assert_close(grad, want_grad, rtol=0, atol=max(1e-4, 1e-5 / alike) * want_grad.abs().max().item())


class TestFeatureLoss:
    def test_equals_its_formula_in_value_and_gradient(self):
        well = features()
        low = [f.flip(0).mul(1.3).requires_grad_() for f in features()]
        want = 0.0
        for mine, theirs in zip(low, well):
            differences = [(a - b) ** 2 for a, b in zip(mine.flatten(), theirs.flatten())]
            powers = [b**2 for b in theirs.flatten()]
            want = want + 0.7 / len(low) * sum(differences) / sum(powers)
        got = sum(FeatureLoss(loss_weight=0.7)(low, well))
        torch.testing.assert_close(got, want)
        for mine, wanted in zip(torch.autograd.grad(got, low), torch.autograd.grad(want, low)):
            torch.testing.assert_close(mine, wanted)

    def test_tells_positions_apart_where_styles_are_alike(self):
        well = features()
        turned = [f.flatten(2).flip(-1).view_as(f) for f in well]
        assert sum(GramLoss(1.0)(turned, well)) < 1e-9 and sum(FeatureLoss()(turned, well)) > 1
        assert sum(FeatureLoss()(well, well)) == 0

    @pytest.mark.parametrize('scale', [1e-6, 1e6])
    def test_the_scale_of_features_does_not_change_it(self, scale):
        low, well = features(3), [f.roll(1, 1) for f in features(3)]
        scaled = [[scale * f for f in side] for side in (low, well)]
        torch.testing.assert_close(sum(FeatureLoss()(*scaled)), sum(FeatureLoss()(low, well)))

    def test_features_of_zeros(self):
        well = features()
        nothing = [torch.zeros_like(f).requires_grad_() for f in well]
        loss = sum(FeatureLoss()(nothing, well))
        torch.testing.assert_close(loss, torch.tensor(1.0))
        sum(FeatureLoss()(nothing, [f.detach() for f in nothing])).backward()
        assert all(f.grad.isfinite().all() for f in nothing)

    @pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
    def test_half_precision_features_do_not_overflow(self, dtype):
        low, well = (torch.full((1, 8, 64, 48), value, dtype=dtype) for value in (600.0, 400.0))
        with torch.autocast('cpu', torch.bfloat16):
            (loss,) = FeatureLoss()([low], [well])
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, (low[0, 0, 0, 0].float() / well[0, 0, 0, 0].float() - 1) ** 2)


class TestHeatmapCrossEntropyLoss:
    def test_is_torchs_over_positions(self):
        torch.manual_seed(0)
        logits, target = torch.randn(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
        weights = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.5]])
        shares = (target / target.sum((2, 3), keepdim=True)).flatten(2)
        terms = cross_entropy(logits.flatten(2).mT, shares.mT, reduction='none')
        torch.testing.assert_close(
            HeatmapCrossEntropyLoss(2.0)(logits, target, weights), 2 * (terms * weights).sum() / 4.5
        )
        torch.testing.assert_close(HeatmapCrossEntropyLoss()(logits, target, weights), (terms * weights).sum() / 4.5)
        torch.testing.assert_close(
            HeatmapCrossEntropyLoss()(logits.bfloat16().float(), target, weights),
            HeatmapCrossEntropyLoss()(logits.bfloat16(), target, weights),
        )

    def test_a_faint_target_is_whole(self):
        logits, target, weights = torch.randn(1, 1, 4, 5), torch.rand(1, 1, 4, 5), torch.ones(1, 1)
        loss = HeatmapCrossEntropyLoss()
        torch.testing.assert_close(loss(logits, 1e-4 * target, weights), loss(logits, target, weights))

    def test_joints_without_a_label(self):
        """They have a map of zeros; with none at all the loss is 0, and one of half the weight counts by half."""
        logits, target = torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 4, 5)
        loss = HeatmapCrossEntropyLoss()
        assert loss(logits, target, torch.zeros(1, 2)) == 0
        target[0, 0, 1, 1] = 1
        for weights, want in ([1.0, 0.0], 1.0), ([0.5, 0.0], 0.5), ([1.0, 0.5], 2 / 3):
            got = loss(logits, target, torch.tensor([weights]))
            torch.testing.assert_close(got, torch.tensor(want) * torch.tensor(20.0).log())
