"""Checkpoints of another model, in a real runner and in the tools' way to load them."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner
from mmpose.registry import MODELS
from test_checkpoints import Code
from test_estimators import build, model_cfg
from test_hooks import Weight
from torch.utils.data import DataLoader

from exlpose_mm import CheckpointFitHook
from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.engine.fitting import check_fits, load_fitting

PLAIN = dict(backbone={**model_cfg()['backbone'], 'norm_cfg': dict(type='BN')})


def joints(count):
    head = copy.deepcopy(model_cfg()['head'])
    head['head']['out_channels'] = count
    return dict(head=head)


def save(folder, state_dict):
    torch.save(dict(state_dict=state_dict, meta={}), folder / 'other.pth')
    return str(folder / 'other.pth')


OTHERS = {
    'another number of joints': (lambda: build(**joints(17)).state_dict(), {}, r'other sizes.*17x8x1x1, not 14x8x1x1'),
    'another model': (
        lambda: MODELS.build(dict(type='MobileNetV2')).state_dict(),
        {},
        r'the config it was trained with, or `pretrained`.*\d+ unknown: conv1.*\d+ missing: backbone',
    ),
    "the official code's": (
        lambda: {'module.resnet_lsbn.conv1.weight': torch.zeros(1)},
        {},
        'tools/convert_official.py',
    ),
    'LSBN into plain batch norms': (
        lambda: build().state_dict(),
        PLAIN,
        r'tools/deploy.py.*unknown: backbone.bn1.bns.0',
    ),
}


@pytest.mark.parametrize('other', OTHERS)
def test_a_checkpoint_of_another_model_is_refused(other, tmp_path):
    weights, cfg, message = OTHERS[other]
    model = build(**cfg)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(CheckpointError, match=rf'(?s)other\.pth is not of this model.*{message}'):
        load_fitting(model, save(tmp_path, weights()))
    torch.testing.assert_close(model.state_dict(), before)


@pytest.mark.parametrize('partly', [False, True])
def test_what_an_earlier_version_wrote_is_refused(partly):
    old = {key.replace('head.', 'head.head.', 1): value for key, value in build().state_dict().items()}
    with pytest.raises(CheckpointError, match=r'old\.pth was written by exlpose_mm 0\.2 or before.*head\.\*'):
        check_fits(build(), {f'module.{key}': value for key, value in old.items()}, 'old.pth', partly)


def test_plain_batch_norms_fit_lsbn(tmp_path):
    model, plain = build(), build(**PLAIN)
    load_fitting(model, save(tmp_path, {f'module.{key}': value for key, value in plain.state_dict().items()}))
    for bn in model.backbone.bn1.bns:
        torch.testing.assert_close(bn.weight, plain.backbone.bn1.weight)
    assert 'unknown' in check_fits(model, {**plain.state_dict(), 'more': torch.zeros(1)}, 'it')


def test_code_in_a_checkpoint_never_runs(tmp_path):
    model, made = build(), tmp_path / 'made_by_the_pickle'
    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=Code(made)), path)
    load_fitting(model, str(path))
    assert not made.exists()
    torch.load(path, weights_only=False)
    assert made.exists(), 'it would have run'


def run(folder, state_dict, phase, **kwargs):
    """Train or test a checkpoint in MMEngine's runner, up to the end of its loading."""

    class Loaded(Exception):
        """The checkpoint was accepted."""

    class Stop(CheckpointFitHook):
        def after_load_checkpoint(self, runner, checkpoint):
            super().after_load_checkpoint(runner, checkpoint)
            raise Loaded

    loader = DataLoader([0])
    loops = (
        dict(
            train_dataloader=loader,
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        )
        if phase == 'train'
        else dict(test_dataloader=loader, test_cfg=dict(), test_evaluator=Weight())
    )
    runner = Runner(
        build(),
        str(folder),
        load_from=save(folder, state_dict),
        custom_hooks=[Stop()],
        experiment_name=f'{folder.name}-{phase}',
        default_scope='mmpose',
        **loops,
        **kwargs,
    )
    with pytest.raises((Loaded, CheckpointError)) as error:
        getattr(runner, phase)()
    return error.value, ''.join(path.read_text(encoding='utf-8') for path in folder.rglob('*.log'))


@pytest.mark.parametrize('phase, kwargs', [('test', {}), ('train', dict(resume=True))])
def test_testing_and_resuming_need_all(phase, kwargs, tmp_path):
    error, _ = run(tmp_path, build(**joints(17)).state_dict(), phase, **kwargs)
    assert isinstance(error, CheckpointError) and 'other.pth is not of this model' in str(error)


def test_training_may_start_from_a_part_but_not_from_nothing(tmp_path):
    error, log = run(tmp_path, build(**joints(17)).state_dict(), 'train')
    assert not isinstance(error, CheckpointError)
    assert 'other.pth is not all of this model:\n  2 of another shape: head.final_layer.weight' in log
    error, _ = run(tmp_path, MODELS.build(dict(type='MobileNetV2')).state_dict(), 'train')
    assert isinstance(error, CheckpointError)


def test_a_checkpoint_to_start_from_that_is_not_there():
    runner = SimpleNamespace(model=build(), _load_from='work_dirs/none.pth')
    with pytest.raises(CheckpointError, match=r'there is no checkpoint work_dirs/none\.pth \(of `load_from`'):
        CheckpointFitHook().before_run(runner)


def test_only_a_download_can_tell_whether_an_address_is_there():
    hook, address = CheckpointFitHook(), 'https://example.org/any.pth'
    hook.before_run(SimpleNamespace(model=build(), _load_from=address))
    assert hook._fresh == [], 'it went on to the backbone, which has no checkpoint of its own'


@pytest.mark.parametrize('kind, fits', [('ResNet', True), ('MobileNetV2', False)])
def test_a_backbone_of_another_kind_is_no_pretrained_one(kind, fits, tmp_path):
    cfg = copy.deepcopy(model_cfg()['backbone'])
    other = dict(cfg, norm_cfg=dict(type='BN')) if fits else dict(type=kind)
    path = save(tmp_path, MODELS.build(other).state_dict())
    model = build(backbone=dict(cfg, init_cfg=dict(type='Pretrained', checkpoint=path)))
    hook, runner = CheckpointFitHook(), SimpleNamespace(model=model, _load_from=None)
    hook.before_run(runner)
    model.init_weights()
    if fits:
        hook.before_train(runner)
        return
    with pytest.raises(CheckpointError, match=r'other\.pth has no weights for this ResNet: all would be random'):
        hook.before_train(runner)
