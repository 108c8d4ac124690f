"""Checkpoints of a bare head and of the same head in a DualTeacherHead, each in the other's model."""

import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.runner.checkpoint import get_state_dict
from mmpose.registry import MODELS
from test_estimators import ALL_STAGES, build, head_with_lsbn, model_cfg
from test_stalls import simcc
from test_teachers import with_teacher
from torch import nn

from exlpose_mm.apis.deployment import plain_state_dict
from exlpose_mm.engine.fitting import check_fits
from exlpose_mm.lighting import lsbn_layers

ADVERSARY = dict(type='DomainAdversarialLoss', in_channels=64)
HEADS = dict(
    HeatmapHead=lambda: build(),
    CPNHead=lambda: build(backbone=ALL_STAGES, head=head_with_lsbn(norm_cfg=dict(type='BN'))),
    RTMCCHead=lambda: simcc()[0],
    adversary=lambda: build(
        head={**model_cfg()['head'], 'adversary': dict(type='DomainAdversarialLoss', in_channels=64)}
    ),
    momentum=lambda: with_teacher(),
)


def stock(model, head):
    """MMPose's model with the head that another model wraps, without LSBN."""
    stages = dict(out_indices=(0, 1, 2, 3)) if head == 'CPNHead' else {}
    backbone = {**model_cfg()['backbone'], **stages, 'norm_cfg': dict(type='BN')}
    plain = MODELS.build(dict(type='TopdownPoseEstimator', backbone=backbone, head=model_cfg()['head']['head']))
    plain.head = copy.deepcopy(model.head.head)
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    return plain


@pytest.mark.parametrize('head', HEADS)
def test_a_stock_checkpoint_loads_by_load_from(head, tmp_path):
    model = HEADS[head]()
    plain = stock(model, head)
    save_checkpoint(dict(state_dict=plain.state_dict(), meta={}), str(tmp_path / 'stock.pth'))
    assert check_fits(model, plain.state_dict(), 'stock.pth') == '', 'nothing to warn of'
    strict = head not in ('adversary', 'momentum')  # which have more than the stock model
    load_checkpoint(model, str(tmp_path / 'stock.pth'), strict=strict)
    for name, parameter in plain.head.named_parameters():
        assert torch.equal(model.head.head.get_parameter(name), parameter), name
    for bn in lsbn_layers(model.backbone)[0].bns:
        assert torch.equal(bn.weight, plain.backbone.bn1.weight)


@pytest.mark.parametrize('head', HEADS)
def test_the_deployed_network_loads_into_the_stock_model(head):
    model = HEADS[head]()
    plain = stock(model, head)
    plain.load_state_dict(plain_state_dict(model.state_dict()))
    for name, parameter in plain.head.named_parameters():
        assert torch.equal(model.head.head.get_parameter(name), parameter), name


@pytest.mark.parametrize('wrap', [lambda model: model, lambda model: nn.ModuleDict(dict(module=model)), copy.deepcopy])
@pytest.mark.parametrize('head', HEADS)
def test_its_own_state_dict_comes_back(head, wrap):
    """Also behind the prefix of a distributed wrapper, and of a copy."""
    model, other = wrap(HEADS[head]()), wrap(HEADS[head]())
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    state_dict = model.state_dict()
    assert not [key for key in state_dict if 'head.head.' in key]
    assert list(get_state_dict(model)) == list(state_dict), "mmengine's own way is the same"
    other.load_state_dict(state_dict)
    assert list(other.state_dict()) == list(state_dict)
    for name, parameter in model.named_parameters():
        assert torch.equal(other.get_parameter(name), parameter), name


def test_what_is_not_there_is_said():
    state_dict = build().state_dict()
    with pytest.raises(RuntimeError, match='Unexpected.*head.head.more'):
        build().load_state_dict({**state_dict, 'head.more': torch.zeros(1)})
    del state_dict['head.final_layer.weight']
    with pytest.raises(RuntimeError, match='Missing.*final_layer.weight'):
        build().load_state_dict(state_dict)


def test_a_moving_average_of_the_whole_model():
    model = build()
    average = ExponentialMovingAverage(model, momentum=0.5, update_buffers=True)
    for _ in range(2):
        average.update_parameters(model)
        with torch.no_grad():
            model.head.head.final_layer.bias.add_(1)
    model.load_state_dict(average.module.state_dict())
    assert not [key for key in average.state_dict() if 'head.head.' in key]
    torch.testing.assert_close(model.head.head.final_layer.bias, average.module.head.head.final_layer.bias)


@MODELS.register_module()
class Argumentative(nn.Module):
    """A head with a part that is named as one of the wrapper's."""

    def __init__(self):
        super().__init__()
        self.adversary = nn.Linear(1, 1)


def test_names_that_clash_are_refused_at_build_time():
    head = dict(type='DualTeacherHead', head=dict(type='Argumentative'))
    MODELS.build(head)  # nothing of that name here
    with pytest.raises(ValueError, match=r"Argumentative has parts named \['adversary'\]"):
        MODELS.build({**head, 'adversary': ADVERSARY})
