"""One pass of both lightings computes what a pass of each does, if all norms are LSBN."""

import copy

import pytest
import torch
from mmpose.registry import MODELS
from test_estimators import build, pairs
from test_lighting import BACKBONES
from test_stalls import cpn, exlpose, features, momentum, unpaired
from torch import nn

from exlpose_mm import LIGHTINGS, LightingError, LSBN2d, lighting
from exlpose_mm.models.defaults import default_taps
from exlpose_mm.models.passes import extract_each, extract_jointly

DENOISED = dict(type='DenoisedBackbone', backbone='ResNet', depth=18)
NETWORKS = {
    **{name: dict(cfg, norm_cfg=dict(type='LSBN2d')) for name, cfg in BACKBONES.items()},
    'denoiser': DENOISED,
    'denoiser and LSBN': dict(DENOISED, norm_cfg=dict(type='LSBN2d')),
}
TAPS = {'MobileNetV3': ['layer2', 'layer7'], 'ShuffleNetV2': ['layers.1']}  # others have defaults


class Net(nn.Module):
    with_neck = False

    def __init__(self, backbone):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = MODELS.build(backbone).double()
        self.backbone.train()
        for module in self.backbone.modules():
            if isinstance(module, nn.BatchNorm2d) and 'norm_cfg' not in backbone:
                module.eval()  # a plain norm is not a lighting's
        self.extract_feat = self.backbone


def flat(outputs):
    """Names and tensors of what an extraction has returned, or of a state."""
    if isinstance(outputs, torch.Tensor):
        return {'': outputs}
    items = outputs.items() if isinstance(outputs, dict) else enumerate(outputs)
    return {f'{key}/{name}': x for key, value in items for name, x in flat(value).items()}


@pytest.mark.parametrize('rows', [(3, 3), (2, 4)])
@pytest.mark.parametrize('name', NETWORKS)
def test_a_backbone(name, rows):
    torch.manual_seed(1)
    inputs = {lit: torch.rand(count, 3, 64, 64).double() for lit, count in zip(LIGHTINGS, rows)}
    each = Net(NETWORKS[name])
    jointly = copy.deepcopy(each)
    jointly.extract_feat = jointly.backbone
    taps, results = TAPS.get(name) or default_taps(each.backbone), []
    for net, extract in ((each, extract_each), (jointly, extract_jointly)):
        outputs = flat(extract(net, inputs, taps))
        sum((i + 1) * x.square().mean() for i, x in enumerate(outputs.values())).backward()
        gradients = {key: p.grad for key, p in net.named_parameters()}
        results.append({**outputs, **gradients, **net.state_dict()})
    assert results[0].keys() == results[1].keys()
    for key, want in results[0].items():
        torch.testing.assert_close(results[1][key], want, msg=key)


@pytest.mark.parametrize('make', [exlpose, features, cpn, momentum, unpaired])
def test_a_training_step(make):
    results = []
    for separate in (True, False):
        model, data = make()
        model.separate_passes = separate
        model.double().train()
        data = model.data_preprocessor(data, True)
        data['inputs'] = {name: images.double() for name, images in data['inputs'].items()}
        if model.momentum_teacher:
            model.momentum_teacher.update(model.network)
        losses = model(**data, mode='loss')
        model.parse_losses(losses)[0].backward()
        results.append({**flat(losses), **{name: p.grad for name, p in model.named_parameters()}, **model.state_dict()})
    for key, want in results[0].items():
        if want is not None:
            torch.testing.assert_close(results[1][key], want, rtol=1e-6, atol=1e-9, msg=key)


def test_a_config_says_so():
    model = build(separate_passes=False)
    calls = []
    model.backbone.register_forward_hook(lambda module, inputs, outputs: calls.append(len(inputs[0])))
    model.train()(**model.data_preprocessor(pairs(), True), mode='loss')
    assert calls == [4]


class TestRows:
    def test_each_lighting_by_itself(self):
        layer, x = LSBN2d(3), torch.rand(5, 3, 4, 4)
        with lighting(layer, dict(well_lit=2, low_light=3)):
            got = layer(x)
        with lighting(layer, 'well_lit'):
            torch.testing.assert_close(got[:2], layer(x[:2]))
        with lighting(layer, 'low_light'):
            torch.testing.assert_close(got[2:], layer(x[2:]))
        with pytest.raises(LightingError):
            layer(x)

    def test_a_batch_of_other_size(self):
        layer = LSBN2d(3)
        with lighting(layer, dict(low_light=2, well_lit=2)), pytest.raises(RuntimeError, match='split'):
            layer(torch.rand(5, 3, 4, 4))

    def test_an_unknown_lighting(self):
        with pytest.raises(ValueError, match="unknown lighting 'dusk'"), lighting(LSBN2d(3), dict(dusk=1)):
            pass
