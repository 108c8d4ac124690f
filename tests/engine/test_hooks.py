"""Hooks in a real runner."""

import copy
import ctypes
import multiprocessing
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import fuses_on_a_cpu
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS, init_default_scope
from mmengine.runner import BaseLoop, Runner, ValLoop
from mmpose.registry import DATASETS, MODELS
from mmpose.structures import PoseDataSample
from test_configs import load
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from exlpose_mm import (
    BFloat16OptimWrapper,
    ChannelsLastHook,
    FiniteLossHook,
    FloatHeadHook,
    InitialValHook,
    JointsHook,
    KeepHeapHook,
    LogHistoryHook,
)
from exlpose_mm.engine.hooks.acceleration import keep_heap
from exlpose_mm.engine.hooks.finite_loss import NonFiniteLossError
from exlpose_mm.engine.hooks.joints import JointsError
from exlpose_mm.engine.hooks.step_watch import StepWatch


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
        return {'LL-A/AP': results[0], 'other': 0.0}


def test_validates_before_training_and_compares_at_the_end(tmp_path):
    loader = DataLoader([dict(inputs=torch.zeros(1))] * 2)
    hook = InitialValHook()
    runner = Runner(
        Model(),
        str(tmp_path),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=2),
        val_cfg=dict(),
        val_evaluator=Evaluator(Weight()),
        custom_hooks=[hook],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5)),
        experiment_name=tmp_path.name,
    )
    runner.train()
    assert [metrics['LL-A/AP'] for metrics in hook.history] == [0.0, 1.0]
    log = next(tmp_path.rglob('*.log')).read_text(encoding='utf-8')
    line = next(line for line in log.splitlines() if line.startswith('LL-A/AP'))
    assert line.split() == ['LL-A/AP', '0.0', '100.0']


class Multiplied(Model):
    """The loss is the weight's distance to 1, times what the batch says."""

    def forward(self, inputs, mode, data_samples=None):
        return dict(loss=(self.weight - 1).square().sum() * sum(inputs).sum())


def train(folder, factors, hook, model=None, **optim_wrapper):
    """Iterations whose losses, or gradients, are multiplied by these factors; returns the runner."""
    samples = [
        dict(
            inputs=torch.tensor([factor]),
            data_samples=PoseDataSample(metainfo=dict(img_path=f'{i}.png', well_lit_path=f'well{i}.png')),
        )
        for i, factor in enumerate(factors)
    ]
    runner = Runner(
        model or Multiplied(),
        str(folder),
        train_dataloader=DataLoader(samples, collate_fn=pseudo_collate),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        custom_hooks=[hook],
        default_scope='mmpose',
        experiment_name=f'{folder.parent.name}-{folder.name}',
        optim_wrapper={**dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.25)), **optim_wrapper},
    )
    runner.train()
    return runner


class Slippery(Model):
    """The loss is the weight's distance to 1, its gradient multiplied by what the batch says."""

    def forward(self, inputs, mode, data_samples=None):
        weight = self.weight * 1
        weight.register_hook(lambda gradient: gradient * sum(inputs).sum())
        return dict(loss=(weight - 1).square().sum())


class Scaler:
    """As much of a loss scaler as mmengine uses, with torch's rule: half the scale after a step left out.

    Before its version 2.3 torch has none for a CPU.
    """

    def __init__(self, device, init_scale):
        self.factor = init_scale

    def is_enabled(self):
        return True

    def scale(self, loss):
        return loss * self.factor

    def step(self, optimizer):
        grads = [p.grad for group in optimizer.param_groups for p in group['params']]
        for grad in grads:
            grad /= self.factor
        self.finite = bool(torch.stack([grad.isfinite().all() for grad in grads]).all())
        if self.finite:
            optimizer.step()

    def update(self, new_scale=None):
        self.factor *= 1 if self.finite else 0.5

    def get_scale(self):
        return self.factor

    def state_dict(self):
        return {}


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(AmpOptimWrapper):
    """mmengine's, which wants a GPU, with a loss scaler for the CPU."""

    def __init__(self, **kwargs):
        with mock.patch('mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available', lambda: True):
            super().__init__(**kwargs)
        self.loss_scaler = getattr(torch.amp, 'GradScaler', Scaler)('cpu', init_scale=4.0)


BAD = [float('nan'), float('inf')]


FUSED = pytest.param(
    dict(type='Adam', lr=0.25, fused=True),
    marks=pytest.mark.skipif(not fuses_on_a_cpu(), reason='this torch has fused optimisers for GPUs only'),
)


def test_the_log_keeps_its_last_values(tmp_path):
    runner = train(tmp_path, [1.0, 0.5, 0.25, 1.0], LogHistoryHook(keep=2))
    values, counts = runner.message_hub.get_scalar('train/loss').data
    assert len(values) == len(counts) == 2
    assert values[-1] == pytest.approx((1 - runner.model.weight.item()) ** 2 * 4)  # of before a step that halves it
    assert all(len(history.data[0]) <= 2 for history in runner.message_hub.log_scalars.values())


class TestFiniteLoss:
    @pytest.mark.parametrize('bad', BAD)
    def test_stops_before_the_weights_are_touched(self, bad, tmp_path):
        model = Multiplied()
        with pytest.raises(NonFiniteLossError, match=rf'iteration 2: .*{bad}.*: 1\.png, well1\.png$'):
            train(tmp_path, [1.0, bad], FiniteLossHook(), model)
        assert model.weight.item() == pytest.approx(0.5)

    @pytest.mark.parametrize('bad', BAD)
    def test_leaves_out_and_counts(self, bad, tmp_path):
        hook = FiniteLossHook('skip')
        runner = train(tmp_path, [1.0, bad, 1.0, bad], hook)
        assert runner.model.weight.item() == pytest.approx(0.75) and hook.skipped == 2
        log = next(tmp_path.rglob('*.log')).read_text(encoding='utf-8')
        assert '1.png, well1.png. The iteration is left out, the 1. of this run' in log
        assert '3.png, well3.png. The iteration is left out, the 2. of this run' in log

    def test_stops_when_nothing_is_left(self, tmp_path):
        hook = FiniteLossHook('skip', patience=2)
        with pytest.raises(NonFiniteLossError):
            train(tmp_path, [1.0, *3 * BAD[:1], 1.0], hook)
        assert hook.skipped == 3

    def test_an_ordinary_run_is_not_touched(self, tmp_path):
        runner = train(tmp_path, [1.0, 1.0], FiniteLossHook())
        assert runner.model.weight.item() == pytest.approx(0.75)
        assert 'update_params' not in vars(runner.optim_wrapper)

    def test_a_loss_whose_gradient_hides_it(self, tmp_path):
        """An infinite constant has no gradient."""

        class Shifted(Multiplied):
            def forward(self, inputs, mode, data_samples=None):
                return dict(loss=(self.weight - 1).square().sum() + sum(inputs).sum())

        hook = FiniteLossHook('skip')
        runner = train(tmp_path, [0.0, BAD[1], 0.0], hook, Shifted())
        assert runner.model.weight.item() == pytest.approx(0.75) and hook.skipped == 1

    @pytest.mark.parametrize('bad', BAD)
    @pytest.mark.parametrize('optimizer', [dict(type='SGD', lr=0.25, momentum=0.9), dict(type='Adam', lr=0.25), FUSED])
    @pytest.mark.parametrize('options', [{}, dict(clip_grad=dict(max_norm=10)), dict(accumulative_counts=2)])
    def test_gradients_leave_weights_and_moments_alone(self, bad, optimizer, options, tmp_path):
        """As if the iterations of that step had never been."""
        count = options.get('accumulative_counts', 1)
        hook, results = FiniteLossHook('skip'), []
        for name, factors in dict(
            bad=[*[1.0] * count, *[1.0] * (count - 1), bad, *[0.5] * count], good=[*[1.0] * count, *[0.5] * count]
        ).items():
            runner = train(tmp_path / name, factors, hook, Slippery(), optimizer=optimizer, **copy.deepcopy(options))
            moments = runner.optim_wrapper.optimizer.state[runner.model.weight]
            results.append([runner.model.weight.item(), *(float(moment) for moment in moments.values())])
        assert results[0] == results[1] and hook.skipped == 1
        log = next((tmp_path / 'bad').rglob('*.log')).read_text(encoding='utf-8')
        images = ', '.join(f'{i}.png, well{i}.png' for i in range(count, 2 * count))
        assert 'but its gradients are not finite, here or in another process; its images here: ' + images in log

    @pytest.mark.parametrize('options', [{}, dict(accumulative_counts=2), dict(type='CpuAmpOptimWrapper')])
    @pytest.mark.parametrize('bad', BAD)
    def test_statistics_of_batch_norms_are_left_alone_too(self, bad, options, tmp_path):
        class Normed(Multiplied):
            def __init__(self):
                super().__init__()
                self.norm = torch.nn.BatchNorm1d(1, affine=False)

            def forward(self, inputs, mode, data_samples=None):
                self.norm(sum(inputs).view(1, 1) * torch.tensor([[1.0], [2.0]]))
                return super().forward(inputs, mode)

        count, statistics = options.get('accumulative_counts', 1), []
        for name, factors in dict(
            bad=[*[1.0] * count, *[1.0] * (count - 1), bad, *[0.5] * count], good=[*[1.0] * count, *[0.5] * count]
        ).items():
            norm = train(tmp_path / name, factors, FiniteLossHook('skip'), Normed(), **options).model.norm
            statistics.append([norm.running_mean.item(), norm.running_var.item()])
        assert statistics[0] == statistics[1]

    def test_gradients_stop_before_the_weights_are_touched(self, tmp_path):
        model = Slippery()
        with pytest.raises(NonFiniteLossError, match=r'iteration 2: the loss is 0.25, but its gradients .*: 1\.png,'):
            train(tmp_path, [1.0, BAD[0]], FiniteLossHook(), model)
        assert model.weight.item() == pytest.approx(0.5)

    def test_of_accumulated_losses_the_bad_one_is_named(self, tmp_path):
        with pytest.raises(NonFiniteLossError, match=r'iteration 3: the loss is nan, here .*: 2\.png, well2\.png$'):
            train(tmp_path, [1.0, 1.0, BAD[0], 1.0], FiniteLossHook(), accumulative_counts=4)

    @pytest.mark.parametrize(
        'optim_wrapper',
        [
            {},
            dict(clip_grad=dict(max_norm=1e3)),
            dict(type='CpuAmpOptimWrapper'),
            pytest.param(dict(optimizer=FUSED.values[0]), marks=FUSED.marks),
        ],
    )
    def test_one_number_is_read_in_a_good_step_and_none_before_it(self, optim_wrapper, tmp_path):
        """What clipping and the loss scaler read themselves is enough; for a fused optimiser it is read afterwards."""
        fused = 'optimizer' in optim_wrapper
        reads = []

        class Reads(TorchDispatchMode):
            def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
                if operator is torch.ops.aten._local_scalar_dense.default:
                    reads.append(model.weight.grad is not None)
                return operator(*args, **(kwargs or {}))

        class Counted(Multiplied):
            def train_step(self, data, optim_wrapper):
                data = self.data_preprocessor(data, True)
                with Reads():
                    loss, log = self.parse_losses(self(**data, mode='loss'))
                    optim_wrapper.update_params(loss)
                return log

        model = Counted()
        train(tmp_path, [1.0, 1.0], FiniteLossHook(), model, **optim_wrapper)
        assert reads == [not fused] * 2 and model.weight.item() == pytest.approx(0.5 if fused else 0.75, abs=0.01)

    def test_an_optimiser_that_is_not_of_torch(self, tmp_path):
        runner = train(tmp_path, [1.0], FiniteLossHook())
        runner.optim_wrapper = OptimWrapperDict(one=runner.optim_wrapper)
        with pytest.raises(TypeError, match='one optimiser of torch, but that of OptimWrapperDict is None'):
            FiniteLossHook().before_train(runner)

    def test_unknown_action(self):
        with pytest.raises(ValueError, match="'ignore'"):
            FiniteLossHook('ignore')


class TestLossScaler:
    @pytest.mark.parametrize('bad', BAD)
    def test_it_leaves_out_and_is_counted(self, bad, tmp_path):
        """Also where a loss that is not finite would stop the training."""
        hook = FiniteLossHook()
        runner = train(tmp_path, [1.0, bad, bad, 1.0], hook, Slippery(), type='CpuAmpOptimWrapper')
        assert runner.model.weight.item() == pytest.approx(0.75) and hook.skipped == 2
        assert runner.optim_wrapper.loss_scaler.get_scale() == 1
        log = next(tmp_path.rglob('*.log')).read_text(encoding='utf-8')
        assert '1.png, well1.png. The iteration is left out, the 1. of this run' in log

    def test_a_loss_that_is_not_finite_stops_all_the_same(self, tmp_path):
        model = Multiplied()
        with pytest.raises(NonFiniteLossError, match=r'iteration 2: the loss is nan, here .*: 1\.png, well1\.png$'):
            train(tmp_path, [1.0, BAD[0]], FiniteLossHook(), model, type='CpuAmpOptimWrapper')
        assert model.weight.item() == pytest.approx(0.5)

    def test_no_scale_helps(self, tmp_path):
        hook = FiniteLossHook()
        with pytest.raises(NonFiniteLossError, match=r'iteration 26: .*gradients are not finite.*: 25\.png, well25'):
            train(tmp_path, [1.0, *30 * BAD[:1]], hook, Slippery(), type='CpuAmpOptimWrapper')
        assert hook.skipped == 25

    def test_a_fused_optimiser_skips_on_its_device(self):
        """It is called all the same, and told by an attribute, as torch's loss scalers do."""

        class Fused(torch.optim.SGD):
            def step(self):
                """On the device."""

        optimizer = Fused([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        watch, seen = StepWatch(OptimWrapper(optimizer)), []
        for optimizer.found_inf in (torch.tensor(0.0), torch.tensor(1.0)):
            optimizer.step()
            seen.append(watch.happened())
        assert seen == [True, False] and not watch.happened()
        watch.remove()
        optimizer.step()
        assert not watch.happened()


class MallocInfo(ctypes.Structure):
    """``struct mallinfo2`` of malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            'arena',
            'ordblks',
            'smblks',
            'hblks',
            'hblkhd',
            'usmblks',
            'fsmblks',
            'uordblks',
            'fordblks',
            'keepcost',
        )
    ]


def is_kept(device, kept):
    """Whether glibc still holds a large block after it was freed."""
    libc = ctypes.CDLL('libc.so.6')
    libc.mallinfo2.restype = MallocInfo
    assert libc.mallopt(-4, 65536) and libc.mallopt(-1, 2**17) and libc.mallopt(-3, 2**17)  # whatever earlier tests set
    if device:
        KeepHeapHook().before_run(SimpleNamespace(model=torch.nn.Linear(1, 1, device=device)))
    size = libc.mallinfo2().fordblks + 2**26  # more than is held already
    np.empty(size, np.uint8)
    kept.value = libc.mallinfo2().fordblks >= size


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallinfo2'), reason='a setting of glibc, seen since its 2.33')
@pytest.mark.parametrize('device', [None, 'meta', 'cpu'])
def test_freed_memory_stays_with_the_process(device):
    """If the model is on the CPU."""
    context = multiprocessing.get_context('fork')
    kept = context.Value('b', -1)
    child = context.Process(target=is_kept, args=(device, kept))
    child.start()
    child.join()
    assert kept.value == (device == 'cpu')


def step_of(conv, optimizer):
    conv(torch.arange(32.0).reshape(1, 2, 4, 4)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_the_channels_are_last_also_of_what_a_resumed_optimiser_holds():
    torch.manual_seed(0)
    first = torch.nn.Conv2d(2, 2, 3)
    models = [copy.deepcopy(first) for _ in range(2)]
    for model, hook in zip(models, [None, ChannelsLastHook()]):
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        step_of(model, optimizer)
        if hook:
            hook.before_train(SimpleNamespace(model=model, optim_wrapper=OptimWrapper(optimizer)))
        step_of(model, optimizer)
    held = optimizer.state[model.weight]
    for tensor in (model.weight, held['exp_avg'], held['exp_avg_sq']):
        assert tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
    torch.testing.assert_close(models[0].weight, models[1].weight)
    assert not torch.equal(models[0].weight, first.weight)


@pytest.mark.parametrize('library', [OSError('no libc.so.6'), object()])
def test_another_c_library_is_left_alone(library, monkeypatch):
    def load(name):
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr('exlpose_mm.engine.hooks.acceleration.ctypes.CDLL', load)
    assert keep_heap() is False


class TestFloatHead:
    """Mixed precision of bfloat16, which NumPy does not know."""

    NAMES = [
        'demo/exlpose_r18_1xb16-10e_demo-128x96.py',
        'exlpose/baseline-all_td-hm_r50_1xb32-32e_exlpose-256x192.py',
        'exlpose/exlpose_rtmpose-m_1xb32-32e_exlpose-256x192.py',
        'exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py',
    ]

    @pytest.mark.parametrize('wrapper', [AmpOptimWrapper, BFloat16OptimWrapper])
    @pytest.mark.parametrize('name', NAMES)
    def test_measures_its_accuracy(self, name, wrapper, exlpose_root, monkeypatch):
        init_default_scope('mmpose')  # the runners above have another
        config = load(name, exlpose_root, monkeypatch)
        torch.manual_seed(0)
        model = MODELS.build(config.model).train()
        dataset = DATASETS.build(config.train_dataloader.dataset)
        batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), training=True)
        runner = SimpleNamespace(model=model, optim_wrapper=wrapper.__new__(wrapper))
        hook = FloatHeadHook()
        hook.before_train(runner)
        with torch.autocast('cpu', torch.bfloat16):
            losses = model(**batch, mode='loss')
        total, scalars = model.parse_losses(losses)
        total.backward()
        assert all(torch.isfinite(value) for value in scalars.values()) and total.dtype == torch.float32
        inner = getattr(model.head, 'head', model.head)
        assert all(parameter.grad is not None for parameter in inner.parameters())
        hook.after_train(runner)
        assert 'forward' not in vars(inner)

    def test_full_precision_is_left_alone(self):
        head = torch.nn.Linear(1, 1)
        FloatHeadHook().before_train(SimpleNamespace(model=SimpleNamespace(head=head), optim_wrapper=None))
        assert 'forward' not in vars(head)


class TestJoints:
    @staticmethod
    def runner(tmp_path, config, joints):
        config.model.head.head.out_channels = joints
        for part in ('train', 'val', 'test'):
            config[f'{part}_dataloader'].update(num_workers=0, persistent_workers=False, batch_size=2)
        config.update(work_dir=str(tmp_path), experiment_name=tmp_path.name)
        return Runner.from_cfg(config)

    @pytest.mark.parametrize('joints', [13, 17])
    def test_others_than_the_heads_are_refused_at_once(self, joints, exlpose_root, tmp_path, monkeypatch):
        config = load(TestFloatHead.NAMES[0], exlpose_root, monkeypatch)
        runner = self.runner(tmp_path, config, joints)
        with pytest.raises(JointsError, match=f'HeatmapHead predicts {joints} joints, but .*train_dataloader have 14'):
            runner.train()
        assert runner.iter == 0

    def test_of_another_metainfo_are_refused_in_testing(self, exlpose_root, tmp_path, monkeypatch):
        config = load(TestFloatHead.NAMES[0], exlpose_root, monkeypatch)
        config.test_dataloader.dataset.metainfo = dict(from_file='configs/_base_/datasets/aic.py')
        for subset in config.test_dataloader.dataset.datasets:
            subset.metainfo = dict(from_file='configs/_base_/datasets/aic.py')
        runner = self.runner(tmp_path, config, 17)
        with pytest.raises(JointsError, match='predicts 17 joints, but .*test_dataloader have 14'):
            runner.test()

    @pytest.mark.parametrize(
        'kwargs',
        [
            dict(pipeline=[dict(type='KeypointConverter', num_keypoints=17, mapping=[(0, 0)])]),
            dict(pred_converter='any'),
        ],
    )
    def test_that_are_converted_may_differ(self, kwargs):
        """Also by a part of a concatenated data set."""
        part = SimpleNamespace(pipeline=kwargs.get('pipeline'), metainfo=dict(num_keypoints=14))
        dataset = SimpleNamespace(pipeline=None, datasets=[part], metainfo=dict(num_keypoints=14))
        loop = BaseLoop.__new__(ValLoop)
        loop.dataloader = SimpleNamespace(dataset=dataset)
        loop.evaluator = SimpleNamespace(metrics=[SimpleNamespace(pred_converter=kwargs.get('pred_converter'))])
        model = SimpleNamespace(head=SimpleNamespace(out_channels=17))
        JointsHook().before_run(SimpleNamespace(model=model, _train_loop=None, _val_loop=loop, _test_loop=None))

    def test_a_model_without_a_head(self):
        JointsHook().before_run(SimpleNamespace(model=object(), _train_loop=None, _val_loop=None, _test_loop=None))
