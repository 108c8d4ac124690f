"""Hooks in a real runner."""
import ctypes
import multiprocessing

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmpose.structures import PoseDataSample
from torch.utils.data import DataLoader

from exlpose_mm import FiniteLossHook, InitialValHook, KeepHeapHook, LogHistoryHook
from exlpose_mm.hooks import NonFiniteLossError, keep_heap


class Model(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode):
        assert self.training == (mode == 'loss')
        return dict(loss=(self.weight - 1).square().sum()) if mode == 'loss' else [self.weight.item()]


class Weight(BaseMetric):

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {'LL-A/AP': results[0], 'other': 0.}


def test_validates_before_training_and_compares_at_the_end(tmp_path):
    loader = DataLoader([dict(inputs=torch.zeros(1))] * 2)
    hook = InitialValHook()
    runner = Runner(
        Model(), str(tmp_path), train_dataloader=loader, val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=2), val_cfg=dict(),
        val_evaluator=Evaluator(Weight()), custom_hooks=[hook],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5)), experiment_name=tmp_path.name)
    runner.train()
    assert [metrics['LL-A/AP'] for metrics in hook.history] == [0., 1.]
    log = next(tmp_path.rglob('*.log')).read_text(encoding='utf-8')
    line = next(line for line in log.splitlines() if line.startswith('LL-A/AP'))
    assert line.split() == ['LL-A/AP', '0.0', '100.0']


class Multiplied(Model):
    """The loss is the weight's distance to 1, times what the batch says."""

    def forward(self, inputs, mode, data_samples=None):
        return dict(loss=(self.weight - 1).square().sum() * sum(inputs).sum())


def train(folder, factors, hook, model=None):
    """Iterations whose losses are multiplied by these factors; returns the runner."""
    samples = [dict(inputs=torch.tensor([factor]), data_samples=PoseDataSample(
        metainfo=dict(img_path=f'{i}.png', well_lit_path=f'well{i}.png')))
               for i, factor in enumerate(factors)]
    runner = Runner(
        model or Multiplied(), str(folder), train_dataloader=DataLoader(samples, collate_fn=pseudo_collate),
        train_cfg=dict(by_epoch=True, max_epochs=1), custom_hooks=[hook], experiment_name=folder.name,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.25)))
    runner.train()
    return runner


BAD = [float('nan'), float('inf')]


def test_the_log_keeps_its_last_values(tmp_path):
    runner = train(tmp_path, [1., 0.5, 0.25, 1.], LogHistoryHook(keep=2))
    values, counts = runner.message_hub.get_scalar('train/loss').data
    assert len(values) == len(counts) == 2
    assert values[-1] == pytest.approx((1 - runner.model.weight.item())**2 * 4)  # of before a step that halves it
    assert all(len(history.data[0]) <= 2 for history in runner.message_hub.log_scalars.values())


class TestFiniteLoss:

    @pytest.mark.parametrize('bad', BAD)
    def test_stops_before_the_weights_are_touched(self, bad, tmp_path):
        model = Multiplied()
        with pytest.raises(NonFiniteLossError, match=rf'iteration 2: .*{bad}.*: 1\.png, well1\.png$'):
            train(tmp_path, [1., bad], FiniteLossHook(), model)
        assert model.weight.item() == pytest.approx(0.5)

    @pytest.mark.parametrize('bad', BAD)
    def test_leaves_out_and_counts(self, bad, tmp_path):
        hook = FiniteLossHook('skip')
        runner = train(tmp_path, [1., bad, 1., bad], hook)
        assert runner.model.weight.item() == pytest.approx(0.75) and hook.skipped == 2
        log = next(tmp_path.rglob('*.log')).read_text(encoding='utf-8')
        assert '1.png, well1.png. The iteration is left out, the 1. of this run' in log
        assert '3.png, well3.png. The iteration is left out, the 2. of this run' in log

    def test_stops_when_nothing_is_left(self, tmp_path):
        hook = FiniteLossHook('skip', patience=2)
        with pytest.raises(NonFiniteLossError):
            train(tmp_path, [1., *3 * BAD[:1], 1.], hook)
        assert hook.skipped == 3

    def test_an_ordinary_run_is_not_touched(self, tmp_path):
        runner = train(tmp_path, [1., 1.], FiniteLossHook())
        assert runner.model.weight.item() == pytest.approx(0.75)
        assert 'update_params' not in vars(runner.optim_wrapper)

    def test_unknown_action(self):
        with pytest.raises(ValueError, match="'ignore'"):
            FiniteLossHook('ignore')


class MallocInfo(ctypes.Structure):
    """``struct mallinfo2`` of malloc.h."""

    _fields_ = [(name, ctypes.c_size_t) for name in (
        'arena', 'ordblks', 'smblks', 'hblks', 'hblkhd', 'usmblks', 'fsmblks', 'uordblks', 'fordblks', 'keepcost')]


def is_kept(hook, kept):
    """Whether glibc still holds a large block after it was freed."""
    libc = ctypes.CDLL('libc.so.6')
    libc.mallinfo2.restype = MallocInfo
    assert libc.mallopt(-4, 65536) and libc.mallopt(-1, 2**17) and libc.mallopt(-3, 2**17)  # whatever earlier tests set
    if hook:
        hook.before_run(None)
    size = libc.mallinfo2().fordblks + 2**26  # more than is held already
    np.empty(size, np.uint8)
    kept.value = libc.mallinfo2().fordblks >= size


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallinfo2'), reason='a setting of glibc, seen since its 2.33')
@pytest.mark.parametrize('hook', [None, KeepHeapHook()])
def test_freed_memory_stays_with_the_process(hook):
    context = multiprocessing.get_context('fork')
    kept = context.Value('b', -1)
    child = context.Process(target=is_kept, args=(hook, kept))
    child.start()
    child.join()
    assert kept.value == bool(hook)


@pytest.mark.parametrize('library', [OSError('no libc.so.6'), object()])
def test_another_c_library_is_left_alone(library, monkeypatch):
    def load(name):
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr('exlpose_mm.hooks.ctypes.CDLL', load)
    assert keep_heap() is False
