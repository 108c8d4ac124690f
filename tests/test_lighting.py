"""LSBN, the lighting block and taps, over the backbones that users swap in."""

import re

import pytest
import torch
from mmpose.registry import MODELS
from torch import nn

from exlpose_mm.lighting import (
    LIGHTINGS,
    LightingError,
    LSBN2d,
    check_lsbn,
    check_without_checkpointing,
    lighting,
    lsbn_layers,
    tap,
)

HRNET_EXTRA = {
    f'stage{i}': dict(
        num_modules=1,
        num_branches=i,
        block='BOTTLENECK' if i == 1 else 'BASIC',
        num_blocks=(1,) * i,
        num_channels=tuple(8 * 2**j for j in range(i)),
    )
    for i in range(1, 5)
}
BACKBONES = {
    'ResNet': dict(type='ResNet', depth=18),
    'ResNetV1d': dict(type='ResNetV1d', depth=50),
    'ResNeXt': dict(type='ResNeXt', depth=50),
    'SEResNet': dict(type='SEResNet', depth=50),
    'HRNet': dict(type='HRNet', extra={**HRNET_EXTRA}),
    'MobileNetV2': dict(type='MobileNetV2'),
    'MobileNetV3': dict(type='MobileNetV3'),
    'ShuffleNetV2': dict(type='ShuffleNetV2'),
    'CSPNeXt': dict(type='mmdet.CSPNeXt', deepen_factor=0.17, widen_factor=0.125),
}


def build(name, norm='LSBN2d', **extra):
    torch.manual_seed(0)
    backbone = MODELS.build({**BACKBONES[name], **extra, 'norm_cfg': dict(type=norm)})
    backbone.eval()
    return backbone


@pytest.fixture(params=BACKBONES)
def name(request):
    return request.param


def outputs(backbone, x):
    out = backbone(x)
    return out if isinstance(out, tuple) else (out,)


class TestLSBN2d:
    def test_each_lighting_is_its_own_batch_norm(self):
        layer = LSBN2d(3)
        assert layer.num_features == 3
        references = [nn.BatchNorm2d(3), nn.BatchNorm2d(3)]
        for i in range(len(LIGHTINGS)):
            nn.init.normal_(layer.bns[i].weight)
            references[i].load_state_dict(layer.bns[i].state_dict())
        for i, lit in enumerate(LIGHTINGS * 2):
            x = torch.randn(4, 3, 5, 6) * (i + 1)
            with lighting(layer, lit):
                torch.testing.assert_close(layer(x), references[i % 2](x))
        for bn, reference in zip(layer.bns, references):
            torch.testing.assert_close(bn.running_mean, reference.running_mean)
            assert bn.num_batches_tracked == 2

    def test_low_light_is_index_0_as_in_the_official_checkpoint(self):
        layer = LSBN2d(1)
        layer.bns[0].bias.data.fill_(7.0)
        with lighting(layer, 'low_light'):
            assert layer(torch.randn(8, 1, 4, 4)).mean() > 6

    def test_without_a_lighting_it_raises(self):
        message = (
            "^LSBN2d does not know .* run the network inside `with lighting\\(network, 'low_light'\\)`. With "
            r'activation checkpointing \(with_cp=True\) .*: set with_cp=False\.$'
        )
        with pytest.raises(LightingError, match=message):
            LSBN2d(3)(torch.randn(2, 3, 4, 4))

    def test_layers_that_recompute_are_named(self):
        layers = [LSBN2d(3), *(nn.Identity() for _ in range(4))]
        network = nn.Sequential(*layers)
        check_without_checkpointing(network)
        network.with_cp = True
        for layer in layers[1:]:
            layer.with_cp = True
        message = (
            'Sequential recomputes 5 layers (itself, 1, 2) in the backward pass, where LSBN2d does not know the '
            'lighting: set with_cp=False'
        )
        with pytest.raises(ValueError, match=f'^{re.escape(message)}$'):
            check_without_checkpointing(network)
        check_without_checkpointing(network[1])

    def test_official_keys_load_separately(self):
        layer = LSBN2d(2)
        state = {k: torch.rand_like(v) if v.is_floating_point() else v for k, v in layer.state_dict().items()}
        layer.load_state_dict(state)
        torch.testing.assert_close(layer.bns[1].weight, state['bns.1.weight'])
        assert not torch.equal(layer.bns[0].weight, layer.bns[1].weight)

    def test_converts_to_sync_bn(self):
        layer = nn.SyncBatchNorm.convert_sync_batchnorm(LSBN2d(2))
        assert isinstance(layer, LSBN2d)
        assert all(isinstance(bn, nn.SyncBatchNorm) for bn in layer.bns)


class TestBackbones:
    def test_has_no_bare_batch_norm(self, name):
        check_lsbn(build(name))

    def test_plain_checkpoint_loads_strictly_into_both_copies(self, name):
        plain, twin = build(name, 'BN'), build(name)
        for module in plain.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.weight.data.uniform_(0.5, 1.5)
        twin.load_state_dict(plain.state_dict(), strict=True)
        x = torch.randn(2, 3, 64, 64)
        for lit in LIGHTINGS:
            with torch.no_grad(), lighting(twin, lit):
                for got, want in zip(outputs(twin, x), outputs(plain, x)):
                    torch.testing.assert_close(got, want)

    def test_a_lighting_touches_its_own_statistics_only(self, name):
        backbone = build(name)
        backbone.train()
        with lighting(backbone, 'well_lit'):
            outputs(backbone, torch.randn(2, 3, 64, 64))
        used = [bn.num_batches_tracked.item() for layer in lsbn_layers(backbone) for bn in layer.bns]
        assert set(used[0::2]) == {0}
        assert set(used[1::2]) == {1}

    def test_a_missing_entry_of_a_plain_checkpoint_is_reported(self):
        state = build('ResNet', 'BN').state_dict()
        del state['bn1.running_mean']
        with pytest.raises(RuntimeError, match='bn1.bns.0.running_mean'):
            build('ResNet').load_state_dict(state, strict=True)


class TestCheckLSBN:
    def test_a_backbone_that_ignores_norm_cfg(self):
        backbone = MODELS.build(dict(type='HourglassNet', norm_cfg=dict(type='LSBN2d')))
        names = r'\(\S+, \S+, \S+, \.\.\.\)'
        with pytest.raises(
            ValueError, match=rf'HourglassNet ignores norm_cfg in \d+ layers {names}, which stay shared'
        ):
            check_lsbn(backbone)

    def test_a_backbone_without_batch_norm(self):
        with pytest.raises(ValueError, match='Sequential has no batch norm .*could replace; .*, or leave LSBN2d out$'):
            check_lsbn(nn.Sequential(nn.Conv2d(3, 3, 1), nn.LayerNorm(3)))

    @pytest.mark.parametrize('kind', ['PyramidVisionTransformer', 'SwinTransformer'])
    def test_a_transformer_would_build_but_is_refused(self, kind):
        backbone = MODELS.build(dict(type=kind, norm_cfg=dict(type='LSBN2d')))
        assert lsbn_layers(backbone)
        with pytest.raises(ValueError, match=f'{kind} takes layer norms.*could mix; leave LSBN2d out of its norm_cfg$'):
            check_lsbn(backbone)


class TestLighting:
    def test_nests_and_restores_after_an_error(self):
        layer = LSBN2d(2)
        with lighting(layer, 'low_light'):
            with pytest.raises(KeyError):
                with lighting(layer, 'well_lit'):
                    raise KeyError
            assert layer.active == 'low_light'
        assert layer.active is None

    def test_unknown_name(self):
        with pytest.raises(ValueError, match="'dark'.*low_light"):
            with lighting(LSBN2d(2), 'dark'):
                pass


class TestTap:
    def test_collects_and_leaves_no_hook(self):
        backbone = build('ResNet', 'BN')
        x = torch.randn(1, 3, 32, 32)
        with tap(backbone, ['conv1', 'layer2']) as taps:
            out = outputs(backbone, x)[-1]
        torch.testing.assert_close(taps['conv1'], backbone.conv1(x))
        assert taps['layer2'].shape == (1, 128, 4, 4)
        assert not any(m._forward_hooks for m in backbone.modules())
        assert out.shape[1] == 512

    def test_a_layer_with_several_maps(self):
        backbone = build('HRNet', 'BN')
        with tap(backbone, ['stage3']) as taps:
            outputs(backbone, torch.randn(1, 3, 64, 64))
        assert {k: v.shape[1] for k, v in taps.items()} == {'stage3.0': 8, 'stage3.1': 16, 'stage3.2': 32}

    def test_unknown_layer(self):
        with pytest.raises(ValueError, match=r"ResNet has no layer \['layer9'\].*'layer4'"):
            with tap(build('ResNet', 'BN'), ['conv1', 'layer9']):
                pass
