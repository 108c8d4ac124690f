"""Domain-adversarial training: whose gradient is reversed, and by how much."""

import pytest
import torch
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from exlpose_mm.models.adversarial import DomainAdversarialLoss, GradientReversal
from exlpose_mm.models.heads.dual_teacher import DualTeacherHead


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 8, 4, 5, generator=generator, requires_grad=True) for _ in range(2)]


def plain_cross_entropy(loss, low_light, well_lit):
    """The discriminator's loss, written out and with nothing reversed."""
    pooled = torch.cat([low_light.mean((2, 3)), well_lit.mean((2, 3))])
    probability = loss.discriminator(pooled)[:, 0].sigmoid()
    return -torch.cat([(1 - probability[:3]).log(), probability[3:].log()]).mean()


@pytest.mark.parametrize('coefficient', [1.0, 0.25])
def test_reversal_is_the_identity_with_a_negative_gradient(coefficient):
    x = torch.randn(4, 5, requires_grad=True)
    out = GradientReversal.apply(x, coefficient)
    assert torch.equal(out, x)
    upstream = torch.randn(4, 5)
    (grad,) = torch.autograd.grad(out, x, upstream)
    assert torch.equal(grad, -coefficient * upstream)


@pytest.mark.parametrize('reversal, weight', [(1.0, 1.0), (0.5, 3.0)])
def test_only_the_features_see_the_reversed_gradient(reversal, weight):
    torch.manual_seed(0)
    loss = DomainAdversarialLoss(8, hidden_channels=6, reversal=reversal, loss_weight=weight)
    pair = features()
    own, plain = loss(*pair), plain_cross_entropy(loss, *pair)
    torch.testing.assert_close(own, weight * plain)
    parameters = list(loss.parameters())
    got = torch.autograd.grad(own, [*pair, *parameters])
    want = torch.autograd.grad(plain, [*pair, *parameters])
    for g, w in zip(got[:2], want[:2]):
        torch.testing.assert_close(g, -reversal * weight * w)
        assert w.abs().max() > 0
    for g, w in zip(got[2:], want[2:]):
        torch.testing.assert_close(g, weight * w)


def test_the_discriminator_learns_and_the_features_run_away():
    torch.manual_seed(0)
    loss = DomainAdversarialLoss(8)
    low_light, well_lit = (x.detach() for x in features())
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.5)
    first = loss(low_light, well_lit)
    for _ in range(50):
        optimizer.zero_grad()
        loss(low_light, well_lit).backward()
        optimizer.step()
    learned = loss(low_light, well_lit)
    assert learned < 0.8 * first

    low_light.requires_grad_()
    (grad,) = torch.autograd.grad(loss(low_light, well_lit), low_light)
    assert loss(low_light - 10 * grad, well_lit) > learned


def test_a_reversal_that_would_help_the_discriminator_raises():
    with pytest.raises(ValueError, match='positive, got -1'):
        DomainAdversarialLoss(8, reversal=-1)


@MODELS.register_module()
class ConstantHead(torch.nn.Module):
    """A head without a loss of its own to speak of."""

    def loss(self, feats, batch_data_samples, train_cfg={}):
        return dict(loss_kpt=feats[-1].sum() * 0)


def test_the_head_shows_it_the_last_features_of_both_lightings():
    head = DualTeacherHead(dict(type='ConstantHead'), adversary=dict(type='DomainAdversarialLoss', in_channels=8))
    low_light, well_lit = features()
    other = torch.zeros(3, 2, 8, 10)
    losses = head.loss(
        dict(low_light=[other, low_light], well_lit=[other, well_lit]),
        [PoseDataSample(gt_instances=InstanceData())] * 3,
    )
    assert set(losses) == {'low_light.loss_kpt', 'well_lit.loss_kpt', 'loss_adversary'}
    torch.testing.assert_close(losses['loss_adversary'], plain_cross_entropy(head.adversary, low_light, well_lit))


@pytest.mark.parametrize('name, label', [('low_light', 0.0), ('well_lit', 1.0)])
def test_a_batch_of_one_lighting(name, label):
    """The cross-entropy of the images that are there; every parameter learns, as distributed training wants."""
    head = DualTeacherHead(dict(type='ConstantHead'), adversary=dict(type='DomainAdversarialLoss', in_channels=8))
    feats = features()[0]
    losses = head.loss({name: [feats]}, [PoseDataSample(metainfo=dict(lighting=name))] * 3)
    probability = head.adversary.discriminator(feats.mean((2, 3)))[:, 0].sigmoid()
    torch.testing.assert_close(losses['loss_adversary'], -(probability if label else 1 - probability).log().mean())
    losses['loss_adversary'].backward()
    assert all(p.grad is not None for p in head.adversary.parameters())


def test_the_head_has_no_adversary_by_default():
    head = DualTeacherHead(dict(type='ConstantHead'))
    feats = {name: [x] for name, x in zip(('low_light', 'well_lit'), features())}
    people = [PoseDataSample(gt_instances=InstanceData())] * 3
    assert set(head.loss(feats, people)) == {'low_light.loss_kpt', 'well_lit.loss_kpt'}
    assert not list(head.parameters())
