import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

OPTIMIZERS = [
    dict(type='Adam', lr=0.01, weight_decay=0.1),
    dict(type='AdamW', lr=0.01, weight_decay=0.1, foreach=True),
    dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.1),
]
OPTIONS = [
    (dict(norm_decay_mult=0, bias_decay_mult=0), 2),
    (dict(custom_keys=dict(bias=dict(decay_mult=0.0))), 2),
    (dict(custom_keys={'0': dict(lr_mult=0.1), '3': dict(lr_mult=0.1, decay_mult=0.0)}), 3),
    (dict(), 1),
]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)
    )


def built(model, optimizer, paramwise, **kwargs):
    init_default_scope('mmpose')
    return build_optim_wrapper(model, dict(optimizer=dict(optimizer), paramwise_cfg=dict(paramwise), **kwargs))


def train(model, wrapper, steps=4):
    for step in range(steps):
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        wrapper.update_params(model(x).square().mean())
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize('optimizer', OPTIMIZERS, ids=lambda optimizer: optimizer['type'])
@pytest.mark.parametrize('paramwise, number', OPTIONS)
class TestGrouped:
    def test_updates_as_mmengine_does(self, optimizer, paramwise, number):
        models = [network(), network()]
        stock = built(models[0], optimizer, paramwise)
        grouped = built(models[1], optimizer, paramwise, constructor='GroupedOptimWrapperConstructor')
        assert len(grouped.optimizer.param_groups) == number
        assert len(stock.optimizer.param_groups) == (len([*models[0].parameters()]) if paramwise else 1)
        before = [parameter.detach().clone() for parameter in models[1].parameters()]
        after = [train(model, wrapper) for model, wrapper in zip(models, (stock, grouped))]
        assert all(torch.equal(one, other) for one, other in zip(*after))
        assert not any(torch.equal(one, other) for one, other in zip(before, after[1]) if one.dim() == 4)

    def test_resumes(self, optimizer, paramwise, number):
        make = dict(optimizer=optimizer, paramwise=paramwise, constructor='GroupedOptimWrapperConstructor')
        model = network()
        wrapper = built(model, **make)
        train(model, wrapper)
        other = copy.deepcopy(model)
        resumed = built(other, **make)
        resumed.load_state_dict(copy.deepcopy(wrapper.state_dict()))
        assert all(torch.equal(a, b) for a, b in zip(train(model, wrapper), train(other, resumed)))


def test_a_group_has_the_options_of_its_parameters():
    model = network()
    wrapper = built(model, OPTIMIZERS[0], OPTIONS[2][0], constructor='GroupedOptimWrapperConstructor')
    groups = wrapper.optimizer.param_groups
    options = {id(p): (group['lr'], group['weight_decay']) for group in groups for p in group['params']}
    of = {name: options[id(parameter)] for name, parameter in model.named_parameters()}
    assert len(of) == len(options)
    assert {of['0.weight'], of['0.bias']} == {(0.001, 0.1)} and {of['3.weight'], of['3.bias']} == {(0.001, 0.0)}
    assert {of['1.weight'], of['4.bias'], of['5.weight']} == {(0.01, 0.1)}
