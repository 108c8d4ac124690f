"""The denoiser before a backbone: what it changes, what it leaves, what it learns."""

import pytest
import torch
from mmpose.registry import MODELS
from test_estimators import build, model_cfg, pairs

from exlpose_mm import LightingError, UNetDenoiser, lighting
from exlpose_mm.models.defaults import default_taps
from exlpose_mm.models.losses import FeatureLoss

SMALL = dict(type='UNetDenoiser', widths=(8, 8))
RESNET = dict(type='DenoisedBackbone', backbone='ResNet', denoiser=SMALL, depth=18, base_channels=8, stem_channels=8)
BACKBONES = {
    'ResNet': dict(depth=18),
    'MobileNetV2': dict(out_indices=(7,)),
    'PyramidVisionTransformerV2': dict(embed_dims=8, num_layers=[1, 1, 1, 1], out_indices=(3,)),
    'CSPNeXt': dict(deepen_factor=0.33, widen_factor=0.25, norm_cfg=dict(type='BN')),
}


def denoised(name):
    torch.manual_seed(0)
    return in_test(dict(BACKBONES[name], type='DenoisedBackbone', backbone=name, denoiser=SMALL))


def in_test(cfg):
    model = MODELS.build(cfg)
    model.eval()  # of which MMPose's backbones return nothing
    return model


@pytest.mark.parametrize('name', BACKBONES)
@torch.no_grad()
def test_the_light_passes_as_in_the_stock_backbone(name):
    ours = denoised(name)
    stock = in_test(dict(BACKBONES[name], type=name))
    missing, unknown = ours.load_state_dict(stock.state_dict(), strict=False)
    assert not unknown and {key.split('.')[0] for key in missing} == {'denoiser'}
    images = torch.rand(2, 3, 64, 48)
    with lighting(ours, 'well_lit'):
        assert torch.equal(ours(images)[-1], stock(images)[-1])
    with lighting(ours, 'low_light'):
        assert torch.equal(ours(images)[-1], stock(ours.denoiser.denoise(images))[-1])
    assert default_taps(ours) == default_taps(stock)


@pytest.mark.parametrize('size', [(64, 48), (50, 38), (10, 6)])
@pytest.mark.parametrize('widths', [(4,), (4, 6), (4, 6, 8), (4, 5, 6, 7)])
def test_the_image_keeps_its_size(size, widths):
    denoiser = UNetDenoiser(widths, lighting='low_light')
    photons = torch.rand(2, 3, *size).bernoulli() * 40
    got = denoiser(photons)
    assert got.shape == photons.shape and got.isfinite().all()
    with torch.autocast('cpu', torch.bfloat16):
        assert denoiser(photons).isfinite().all()


def test_what_lies_below_zero_is_nothing():
    denoiser = UNetDenoiser((4,), lighting='low_light')
    assert torch.equal(denoiser(torch.full((1, 3, 8, 8), -3.0)), denoiser(torch.zeros(1, 3, 8, 8)))


def test_which_lighting_it_is_must_be_known():
    with pytest.raises(LightingError, match='UNetDenoiser does not know the lighting'):
        denoised('ResNet')(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match="unknown lighting 'dusk'"):
        UNetDenoiser(lighting='dusk')
    with pytest.raises(ValueError, match="MMPose has no backbone 'ResNett'"):
        MODELS.build(dict(type='DenoisedBackbone', backbone='ResNett'))


def test_a_pretrained_backbone_leaves_the_denoisers_own_start(tmp_path):
    stock = MODELS.build(dict(BACKBONES['ResNet'], type='ResNet'))
    torch.save(dict(state_dict=stock.state_dict()), tmp_path / 'stock.pth')
    start = dict(init_cfg=dict(type='Constant', layer='Conv2d', val=0.125))
    ours = MODELS.build(
        dict(
            BACKBONES['ResNet'],
            type='DenoisedBackbone',
            backbone='ResNet',
            denoiser={**SMALL, **start},
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'stock.pth')),
        )
    )
    ours.init_weights()
    assert torch.equal(ours.conv1.weight, stock.conv1.weight)
    assert (ours.denoiser.leave.weight == 0.125).all()


def test_it_learns_to_average_photons():
    torch.manual_seed(0)
    denoiser, distance = UNetDenoiser((16, 16), lighting='low_light'), FeatureLoss()
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=5e-3)
    distances = []
    for _ in range(80):
        light = torch.rand(8, 3, 4, 4).repeat_interleave(8, -1).repeat_interleave(8, -2)
        photons = torch.poisson(0.3 * light) / 0.3
        loss = sum(distance([denoiser(photons)], [light]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        distances.append(loss.item())
    blurred = torch.nn.functional.avg_pool2d(photons, 5, 1, padding=2)
    assert distances[-1] < sum(distance([blurred], [light])).item() < distances[0]


def step(model):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    losses = model.loss(**model.data_preprocessor(pairs(), True))
    loss, _ = model.parse_losses(losses)
    loss.backward()
    optimizer.step()
    return losses


def teacher(*taps):
    return dict(taps=list(taps), loss=dict(type='FeatureLoss'))


def with_teacher(head):
    return dict(head, well_lit_teacher=teacher('denoiser', 'conv1', 'layer2'))


PVT = dict(BACKBONES['PyramidVisionTransformerV2'], type='DenoisedBackbone', backbone='PyramidVisionTransformerV2')


@pytest.mark.parametrize(
    'backbone, taps, channels',
    [
        (dict(RESNET, norm_cfg=dict(type='LSBN2d')), ['denoiser', 'conv1', 'layer2'], 64),
        (dict(RESNET, norm_cfg=dict(type='BN')), ['denoiser', 'conv1', 'layer2'], 64),
        (dict(PVT, denoiser=SMALL), ['denoiser', 'layers.0.0.projection', 'layers.2.1.0'], 64),
    ],
)
def test_frozen_only_the_denoiser_learns(backbone, taps, channels):
    head = dict(model_cfg()['head'], well_lit_teacher=teacher(*taps))
    head['head']['in_channels'] = channels
    model = build(backbone=backbone, head=head, frozen=True)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    losses = step(model)
    assert {'loss_feature', *(f'feature.{name}' for name in taps)} <= losses.keys()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if key.startswith('backbone.denoiser.')}
    assert not model.eval().backbone.denoiser.training


def test_not_frozen_all_learn_and_the_teacher_sees_the_image_itself():
    model = build(backbone=dict(RESNET, norm_cfg=dict(type='LSBN2d')), head=with_teacher(model_cfg()['head']))
    data = model.data_preprocessor(pairs(), True)
    want = FeatureLoss(1 / 3)(
        [model.backbone.denoiser.denoise(data['inputs']['low_light'])], [data['inputs']['well_lit']]
    )[0]
    assert torch.allclose(step(model)['feature.denoiser'], want)
    assert all(p.grad is not None for name, p in model.backbone.named_parameters() if 'denoiser' in name)
    assert model.backbone.conv1.weight.grad.abs().sum() > 0


def test_a_model_without_a_denoiser_cannot_be_frozen():
    with pytest.raises(ValueError, match='frozen=True leaves nothing to learn'):
        build(frozen=True)


def test_the_momentum_teacher_has_one_too():
    head = dict(with_teacher(model_cfg()['head']), momentum_teacher=dict())
    model = build(backbone=dict(RESNET, norm_cfg=dict(type='LSBN2d')), head=head)
    model.momentum_teacher.update(model.network)
    images = torch.rand(2, 3, 64, 64) * 3
    with torch.no_grad(), lighting(model, 'low_light'):
        want = model.eval().head.forward(model.extract_feat(images))
    assert torch.allclose(model.momentum_teacher(images)[0], want, atol=1e-5)
