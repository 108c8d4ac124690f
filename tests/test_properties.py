"""What holds for any input, searched for counterexamples by hypothesis."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from mmpose.datasets.transforms import RandomFlip
from torch import nn

from exlpose_mm import LIGHTINGS, CPNHeatmap, GramLoss, LSBN2d, ScaleToMean, SoftmaxHeatmap, lighting
from exlpose_mm.joints import JOINTS
from exlpose_mm.models.losses import StyleDistance

# The same examples each time, so that a failure is a change of the code.
steady = settings(derandomize=True, deadline=None, database=None, max_examples=40)

# Channels and positions on both of GramLoss's ways: with as few positions as 1/4 of the channels, and more.
sizes = st.sampled_from([(1, 1), (3, 5), (4, 1), (8, 2), (7, 2), (16, 3)])


@st.composite
def any_features(draw):
    """Student's and teacher's features (B, C, H, 1) of any values within the range that GramLoss promises."""
    channels, positions = draw(sizes)
    shape = (draw(st.integers(1, 3)), channels, positions, 1)
    values = hnp.arrays(np.float32, shape, elements=st.floats(-1e8, 1e8, width=32))
    return [torch.from_numpy(draw(values)) for _ in range(2)]


@st.composite
def drawn_features(draw, count=2):
    """Normally distributed features (B, C, H, 1) of any magnitude within that range."""
    channels, positions = draw(sizes)
    magnitude = 10.0 ** draw(st.integers(-6, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = (draw(st.integers(1, 3)), channels, positions, 1)
    return [magnitude * torch.randn(shape, generator=generator) for _ in range(count)]


def gram(low, well):
    (loss,) = GramLoss(1.0)([low], [well])
    return loss


def style_of(features):
    """Gram matrices per position (B, C, C), float64."""
    flat = features.double().flatten(2)
    return flat @ flat.mT / flat.shape[2]


def turned(features):
    """Other features of the same style: their positions (B, C, N) turned by an orthogonal matrix."""
    flat = features.double().flatten(2)
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(flat.shape[2], flat.shape[2], generator=generator).double())
    return (flat @ turn).view(features.shape).float()


@steady
@given(any_features())
def test_gram_loss_is_finite_and_so_is_its_gradient(pair):
    low, well = pair
    loss = gram(low.requires_grad_(), well)
    loss.backward()
    assert loss.isfinite() and loss >= 0 and low.grad.isfinite().all()


@pytest.mark.parametrize('size', [(256, 64), (64, 192)])
def test_gram_loss_is_finite_at_the_end_of_its_range(size):
    """Where every term has the same sign, in a batch of 64."""
    low = torch.full((64, *size, 1), 1e8).requires_grad_()
    loss = gram(low, torch.zeros_like(low))
    loss.backward()
    assert loss.item() == pytest.approx(1e32, rel=1e-3)
    # 4 G A / (B (C N)^2) with G = N 1e16 everywhere.
    assert low.grad.unique().item() == pytest.approx(4e24 / (64 * size[0] * size[1]), rel=1e-3)


@steady
@given(drawn_features())
def test_gram_loss_is_the_mean_squared_difference_of_styles(pair):
    low, well = pair
    want = (style_of(low) - style_of(well)).square().mean()
    assert gram(low, well).item() == pytest.approx(want.item(), rel=1e-4)


@steady
@given(drawn_features(count=1), st.floats(1e-3, 10))
def test_gram_loss_is_zero_for_equal_styles_only(drawn, louder):
    (low,) = drawn
    size = style_of(low).square().mean().item()
    assert gram(low, turned(low)).item() <= 1e-11 * size
    other = (1 + louder) * low
    assert gram(turned(low), other).item() == pytest.approx(size * ((1 + louder) ** 2 - 1) ** 2, rel=1e-2)


@steady
@given(drawn_features(), st.randoms(use_true_random=False))
def test_gram_loss_does_not_ask_where_features_stand(pair, random):
    orders = [random.sample(range(f.shape[2]), f.shape[2]) for f in pair]
    shuffled = [f[:, :, order] for f, order in zip(pair, orders)]
    assert gram(*shuffled).item() == pytest.approx(gram(*pair).item(), rel=1e-3)


@steady
@given(drawn_features(), st.integers(0, 100))
def test_gradient_of_style_distance(pair, upstream):
    low, well = (f.double().flatten(2) / f.abs().max() for f in pair)
    assert torch.autograd.gradcheck(lambda x: upstream * StyleDistance.apply(x, well), low.requires_grad_())


@steady
@given(st.lists(st.tuples(st.sampled_from(LIGHTINGS), st.booleans()), max_size=6), st.integers(0, 2**31))
def test_lsbn_is_two_batch_norms(steps, seed):
    """Whatever the order of lightings, training and evaluation: outputs, gradients and statistics."""
    generator = torch.Generator().manual_seed(seed)
    layer = LSBN2d(3, momentum=0.3)
    twins = {name: nn.BatchNorm2d(3, momentum=0.3) for name in LIGHTINGS}
    for name, training in steps:
        x = torch.randn(2, 3, 4, 5, generator=generator) * 3 + 1
        layer.train(training)
        with lighting(layer, name):
            out = layer(x)
        want = twins[name].train(training)(x)
        torch.testing.assert_close(out, want, rtol=0, atol=0)
        out.square().sum().backward()
        want.square().sum().backward()
    for name, bn in zip(LIGHTINGS, layer.bns):
        for got, want in zip((*bn.buffers(), *bn.parameters()), (*twins[name].buffers(), *twins[name].parameters())):
            torch.testing.assert_close(got, want, rtol=0, atol=0)
        assert (bn.weight.grad is None) == (twins[name].weight.grad is None)
        if bn.weight.grad is not None:
            torch.testing.assert_close(bn.weight.grad, twins[name].weight.grad, rtol=0, atol=0)


@steady
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))), st.floats(0.01, 1))
def test_scaling_to_a_mean_twice_is_once(image, mean):
    scale = ScaleToMean(mean)
    once = scale.transform(dict(img=image))['img']
    twice = scale.transform(dict(img=once))['img']
    np.testing.assert_allclose(twice, once, rtol=1e-5)


def joints_inside(margin):
    """One joint (1, 1, 2) in an input of 192 x 256, as far from the border."""
    return st.tuples(st.floats(margin, 191.75 - margin), st.floats(margin, 255.75 - margin)).map(
        lambda xy: np.float32([[xy]])
    )


@steady
@given(joints_inside(0), st.booleans())
def test_round_trip_of_softmax_heatmap(joints, unbiased):
    joints = joints.clip(0, np.float32([4 * 47.49, 4 * 63.49]))  # MMPose's last cell is around 47, 63
    codec = SoftmaxHeatmap((192, 256), (48, 64), sigma=2, unbiased=unbiased)
    encoded = codec.encode(joints)
    with np.errstate(divide='ignore'):
        decoded, scores = codec.decode(np.log(encoded['heatmaps']))
    assert np.abs(decoded - joints).max() / 4 <= 0.5 + 1e-4
    assert 0 < scores.item() <= 1


@steady
@given(joints_inside(16))
def test_round_trip_of_cpn_heatmap(joints):
    """CPN finds the cell, and leaves its middle by a quarter of a cell for the second-highest, whichever it is."""
    codec = CPNHeatmap()
    middle = np.floor(joints / 4) * 4 + 2
    for heatmaps in codec.encode(joints)['heatmaps']:
        decoded, scores = codec.decode(heatmaps)
        shift = (decoded - middle)[0, 0] / 4
        assert np.linalg.norm(shift) == pytest.approx(0.25, abs=1e-5)
        assert np.abs(shift).min() < 1e-5
        assert scores.item() == pytest.approx(1.5)


@steady
@given(joints_inside(0))
def test_round_trip_of_cpn_heatmap_at_the_border(joints):
    """There the blur mirrors the target, and the maximum of its blurred map lies one cell inside."""
    decoded, _ = CPNHeatmap().decode(CPNHeatmap().encode(joints)['heatmaps'][-1])
    assert np.abs(decoded - joints).max() / 4 <= 1.5


@steady
@given(
    hnp.arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 9), st.just(3))),
    hnp.arrays(np.float32, (1, len(JOINTS), 2), elements=st.floats(-10, 20, width=16)),
    hnp.arrays(np.float32, (1, len(JOINTS)), elements=st.sampled_from([0.0, 1.0])),
)
def test_flipping_a_pair_twice_changes_nothing(images, joints, visible):
    """With the pairs of left and right that the data set names."""
    flip_indices = [JOINTS.index(_other_side(name)) for name in JOINTS]
    results = dict(
        img=list(images),
        img_shape=images.shape[1:3],
        lighting=LIGHTINGS,
        flip_indices=flip_indices,
        keypoints=joints,
        keypoints_visible=visible,
    )
    once = RandomFlip(prob=1.0).transform(results.copy())
    np.testing.assert_array_equal(once['img'], images[:, :, ::-1])
    twice = RandomFlip(prob=1.0).transform(once.copy())
    np.testing.assert_array_equal(twice['img'], images)
    np.testing.assert_allclose(twice['keypoints'], joints, atol=1e-5)
    np.testing.assert_array_equal(twice['keypoints_visible'], visible)


def _other_side(joint):
    return joint.replace('left', 'RIGHT').replace('right', 'left').replace('RIGHT', 'right')
