"""Two processes on the CPU (gloo), and accumulated gradients: the same training in other portions."""

import logging
import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from mmpose.utils import register_all_modules
from test_estimators import build
from test_teachers import boxed_pairs, with_teacher
from torch import nn

from exlpose_mm.engine.hooks.acceleration import ChannelsLastHook
from exlpose_mm.engine.hooks.finite_loss import FiniteLossHook
from exlpose_mm.engine.hooks.momentum_teacher import MomentumTeacherHook

STEPS = 2


def portion(rank: int) -> dict:
    """Two pairs that differ from those of the other rank."""
    data = boxed_pairs()
    data['inputs'] = {
        name: [image.flip(1 + rank) + 10 * rank for image in images] for name, images in data['inputs'].items()
    }
    return data


def everything() -> dict:
    """The pairs of both ranks."""
    parts = [portion(rank) for rank in range(2)]
    return dict(
        inputs={name: [image for part in parts for image in part['inputs'][name]] for name in parts[0]['inputs']},
        data_samples=[sample for part in parts for sample in part['data_samples']],
    )


def model_of(kind: str) -> nn.Module:
    """With batch norms that learn no statistics, which are each process' own."""
    model = with_teacher() if kind == 'momentum' else build()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


class Runner:
    """As much of one as the hook looks at."""

    def __init__(self, model, **kwargs):
        self.model = model
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
        self.optim_wrapper = OptimWrapper(optimizer, **kwargs)
        self.hook = MomentumTeacherHook() if any('momentum_teacher' in n for n, _ in model.named_modules()) else None

    def train(self, batches) -> dict:
        if self.hook:
            self.hook.before_train(self)
        for data in batches:
            self.model.train_step(data, self.optim_wrapper)
            if self.hook:
                self.hook.after_train_iter(self, 0)
        network = getattr(self.model, 'module', self.model)
        return {name: p.detach() for name, p in network.named_parameters()}


def join(rank: int, port: int, backend: str = 'gloo', processes: int = 2) -> None:
    """The other processes."""
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    dist.init_process_group(backend, rank=rank, world_size=processes)
    torch.set_num_threads(1)
    register_all_modules()


def train(rank: int, port: int, folder: str, kind: str) -> None:
    join(rank, port)
    # A step fails here if a parameter gets no gradient: nothing is marked as unused.
    with DefaultScope.overwrite_default_scope('mmpose'):
        runner = Runner(MMDistributedDataParallel(model_of(kind)))
    layouts, hook = [], ChannelsLastHook()
    if kind == 'channels last':
        hook.before_train(runner)
    runner.model.module.backbone.layer1.register_forward_hook(
        lambda module, _, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last))
    )
    torch.save(runner.train([portion(rank)] * STEPS), f'{folder}/{rank}.pt')
    assert layouts == [kind == 'channels last'] * len(layouts) and layouts
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason='torch was built without gloo')
@pytest.mark.parametrize('kind', ['exlpose', 'momentum', 'channels last'])
def test_two_processes_are_one_with_twice_the_batch(tmp_path, kind):
    port = 20000 + (os.getpid() + 7 * len(kind)) % 20000
    mp.spawn(train, args=(port, str(tmp_path), kind), nprocs=2)
    weights = [torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in range(2)]
    before = {name: p.detach().clone() for name, p in model_of(kind).named_parameters()}
    alone = Runner(model_of(kind)).train([everything()] * STEPS)
    assert (kind == 'momentum') == any('momentum_teacher' in name for name in alone)
    assert any((alone[name] - before[name]).abs().max() > 1e-3 for name in before)
    for name in before:
        torch.testing.assert_close(weights[0][name], weights[1][name])
        torch.testing.assert_close(weights[0][name], alone[name], rtol=1e-4, atol=1e-6)


def train_with_a_bad_batch(rank: int, port: int, folder: str) -> None:
    """Only one process sees it, in the middle."""
    join(rank, port)
    with DefaultScope.overwrite_default_scope('mmpose'):
        runner = Runner(MMDistributedDataParallel(model_of('momentum')))
    runner.iter, runner.logger = 0, logging.getLogger()
    guard = FiniteLossHook('skip')
    guard.before_train(runner)
    bad = portion(rank)
    if rank:
        bad['inputs']['low_light'][0] *= float('nan')
    torch.save(runner.train([portion(rank), bad, portion(rank)]), f'{folder}/{rank}.pt')
    assert guard.skipped == 1
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason='torch was built without gloo')
def test_both_processes_leave_out_what_is_not_finite_in_one(tmp_path):
    mp.spawn(train_with_a_bad_batch, args=(20000 + (os.getpid() + 21) % 20000, str(tmp_path)), nprocs=2)
    alone = Runner(model_of('momentum')).train([everything()] * 2)
    for rank in range(2):
        for name, weight in torch.load(tmp_path / f'{rank}.pt', weights_only=True).items():
            torch.testing.assert_close(weight, alone[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('kind', ['exlpose', 'momentum'])
def test_accumulated_gradients_are_those_of_the_larger_batch(kind):
    alone = Runner(model_of(kind)).train([everything()] * STEPS)
    portions = [portion(rank) for _ in range(STEPS) for rank in range(2)]
    accumulated = Runner(model_of(kind), accumulative_counts=2).train(portions)
    for name in alone:
        torch.testing.assert_close(accumulated[name], alone[name], rtol=1e-4, atol=1e-6)
