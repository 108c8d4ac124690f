"""Throughput: the same code as on a GPU, small, and how its figures come about."""

import json
import runpy

import numpy as np
import pytest
import throughput
import torch
from mmengine.config import Config
from test_benchmark import DEMO
from test_configs import ROOT, load
from throughput import (
    ClockHook,
    ConfiguredStepper,
    OfficialSteps,
    PlainSteps,
    Rate,
    covered,
    durations,
    load_stacked,
    loader_rate,
    reckoned_minutes,
)

from exlpose_mm import LIGHTINGS, GramLoss


def test_spans_that_overlap_count_once():
    assert covered([(5, 7), (0, 2), (1, 3), (6, 6.5)]) == 5
    assert covered([]) == 0


def test_each_run_is_timed_after_those_that_warm_up(monkeypatch):
    ticks, calls = iter([0.0, 1.0, 4.0]), []
    monkeypatch.setattr(throughput.time, 'perf_counter', lambda: next(ticks))
    assert durations(lambda: calls.append(1), 2, 'cpu', warm_up=3) == [1.0, 3.0]
    assert len(calls) == 5


def test_the_papers_training_is_reckoned():
    rate = reckoned_minutes(Rate('loop', 608.0, 304.0, 1216.0, 'pairs/s'))
    assert (rate.median, rate.low, rate.high) == pytest.approx((10.0, 5.0, 20.0))


def test_a_loader_is_as_fast_as_all_its_batches_together(exlpose_root, monkeypatch):
    config = load(DEMO, exlpose_root, monkeypatch)
    monkeypatch.setattr(throughput, 'durations', lambda task, steps, device, warm_up: [1.0, 1.0, 1.0, 5.0] * 5)
    rate = loader_rate(config, 8, 0, 20, 'frames')
    assert (rate.low, rate.median, rate.high) == pytest.approx((8 / 3, 4.0, 8.0))


class TestSteps:
    @pytest.fixture
    def config(self, exlpose_root, monkeypatch):
        return load(DEMO, exlpose_root, monkeypatch)

    def weights_after(self, kind, config):
        torch.manual_seed(0)
        stepper = kind(config, load_stacked(config, 2), 'cpu')
        before = [p.detach().clone() for p in stepper.model.parameters()]
        stepper.step()
        return stepper, before

    @pytest.mark.parametrize('kind', [ConfiguredStepper, PlainSteps, OfficialSteps])
    def test_each_learns(self, kind, config):
        stepper, before = self.weights_after(kind, config)
        assert not any(map(torch.equal, before, stepper.model.parameters()))
        assert all(p.isfinite().all() for p in stepper.model.parameters())

    @pytest.mark.parametrize('kind', [ConfiguredStepper, PlainSteps])
    def test_a_stock_head_learns_in_bfloat16(self, kind, config):
        config.optim_wrapper.type = 'BFloat16OptimWrapper'
        assert config.model.head.head.type == 'HeatmapHead'
        stepper, before = self.weights_after(kind, config)
        assert not any(map(torch.equal, before, stepper.model.parameters()))

    def test_the_official_loss_is_ours(self, config):
        torch.manual_seed(0)
        low, well = ([torch.randn(2, 5, 4, 3), torch.randn(2, 16, 2, 2)] for _ in range(2))
        config.model.head.well_lit_teacher.loss.loss_weight = 7.0
        stepper, _ = self.weights_after(OfficialSteps, config)
        ours, theirs = GramLoss(7.0)(low, well), stepper.model.head.well_lit_teacher.loss_module(low, well)
        assert len(theirs) == len(ours) == 2
        for one, other in zip(theirs, ours):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=0)

    def test_the_plain_ones_are_two_of_one_lighting_each(self, config, monkeypatch):
        stepper = PlainSteps(config, load_stacked(config, 2), 'cpu')
        seen, forward = [], stepper.model.backbone.forward
        monkeypatch.setattr(stepper.model.backbone, 'forward', lambda x: seen.append(x) or forward(x))
        stepper.step()
        inputs = stepper.model.data_preprocessor(stepper.data, True)['inputs']
        assert len(seen) == 2 and all(torch.equal(x, inputs[name]) for x, name in zip(seen, LIGHTINGS))

    def test_the_layout_is_the_configs(self, config):
        config.default_hooks.channels_last = dict(type='ChannelsLastHook')
        for kind, last in ((ConfiguredStepper, True), (PlainSteps, True), (OfficialSteps, False)):
            weight = kind(config, load_stacked(config, 2), 'cpu').model.backbone.layer1[0].conv1.weight
            assert weight.is_contiguous(memory_format=torch.channels_last) == last


def test_the_clock_notes_every_so_many_iterations(monkeypatch):
    class Runner:
        iter = 0

    monkeypatch.setattr(throughput.time, 'perf_counter', lambda: float(Runner.iter))
    hook = ClockHook(3)
    for Runner.iter in range(10):
        hook.after_train_iter(Runner, 0)
    assert hook.notes == [2.0, 5.0, 8.0]


def test_the_tool_measures_every_rate(exlpose_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('DATA_ROOT', 'set by the tool')
    monkeypatch.setattr(Config, 'pretty_text', '')
    out = tmp_path / 'rates.json'
    runpy.run_path(str(ROOT / 'tools' / 'dev' / 'benchmark.py'))['main'](
        [
            str(ROOT / 'configs' / DEMO),
            '--throughput',
            '--batch-sizes',
            '2',
            '3',
            '--workers',
            '0',
            '1',
            '--steps',
            '2',
            '--iterations',
            '3',
            '--threads',
            str(torch.get_num_threads()),
            '--data-root',
            str(exlpose_root),
            '--out',
            str(out),
        ]
    )
    content = json.loads(out.read_text(encoding='utf-8'))
    assert f'torch {torch.__version__}' in content['machine'] and content['date'] and content['command']
    steps = [
        f'{what}, batch {batch}'
        for batch in (2, 3)
        for what in (
            'step',
            'memory of the step',
            'device busy in the step',
            'two plain steps',
            "the official code's step",
        )
    ]
    loaders = [f'loader, {source}, {workers} workers' for source in ('cache', 'frames') for workers in (0, 1)]
    loops = [
        name
        for batch in (2, 3)
        for loop in [f'loop, batch {batch}, 1 workers']
        for name in (loop, f"the paper's training, reckoned from the {loop}")
    ]
    assert [rate['name'] for rate in content['rates']] == [*steps, 'test, batch 2', *loops, *loaders]
    assert all(0 < rate['low'] <= rate['median'] <= rate['high'] < np.inf for rate in content['rates'])
    assert all(0 < rate['median'] <= 100.5 for rate in content['rates'] if rate['unit'] == '%')
    assert capsys.readouterr().out.count('\n| ') == len(content['rates']) + 2  # its header and rule


@pytest.mark.parametrize('change', [dict(batches=[0]), dict(steps=0), dict(iterations=1)])
def test_numbers_too_small_to_tell_a_rate(change, tmp_path):
    with pytest.raises(ValueError, match='take at least 1, 1 and 2'):
        next(
            throughput.measure(
                **{
                    **dict(
                        config=None, folder=str(tmp_path), batches=[2], workers=[0], steps=1, iterations=2, device='cpu'
                    ),
                    **change,
                }
            )
        )
