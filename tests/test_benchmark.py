"""The benchmark: what it compares, and that every part of it runs."""
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from exlpose_mm import GramLoss, benchmark
from exlpose_mm.benchmark import compare, compare_steps, looped_gram, metric_cost, prediction_costs, sample_costs, step_costs
from test_configs import ROOT, load

DEMO = 'demo/exlpose_r18_1xb16-10e_demo-128x96.py'


def test_task_and_yardstick_take_turns(monkeypatch):
    calls, clock = [], itertools.cycle([3., 1., 8., 2., 5., 5.])

    def seconds(task, device):
        task()
        return next(clock)

    monkeypatch.setattr(benchmark, 'seconds', seconds)
    found = compare('a / b', lambda: calls.append('a'), lambda: calls.append('b'), repeats=3)
    assert ''.join(calls) == 'abababab'
    assert (found.median, found.low, found.high) == (3., 1., 4.)
    assert (found.task, found.yardstick) == (5., 2.)


def test_every_part_is_measured(exlpose_root, tmp_path, monkeypatch):
    config = load(DEMO, exlpose_root, monkeypatch)
    found = [*sample_costs(config, str(tmp_path), 1), *step_costs(config, 2, 1, 'cpu'),
             *prediction_costs(config, 1, 'cpu', images=2), metric_cost(1, people=30)]
    assert [ratio.name.split(' / ')[0] for ratio in found] == [
        'paired sample', 'cached paired sample', 'paired step', 'style loss', 'style loss', 'prediction with LSBN',
        'memory of prediction with LSBN', 'rows of LL-A']
    assert all(np.isfinite(r.median) and r.median > 0 and r.low <= r.median <= r.high for r in found)
    assert benchmark.text_table(found).count('\n') == 1 + len(found)
    assert benchmark.as_json(found)[0]['unit'] == 's'


def test_an_epoch_is_bound_by_the_slower_of_loading_and_step():
    whole, cached, step = (benchmark.Ratio('', 1, 1, 1, task, 1) for task in (8 * 0.3, 8 * 0.03, 4 * 0.1))
    rows = benchmark.epoch_table(whole, cached, step, batch=4, people=6000).splitlines()[2:]
    assert rows[0] == '| 1 | 1 | 30.0 min (loading) | 10.0 min (step) |'
    assert rows[2] == '| 1 | 4 | 10.0 min (step) | 10.0 min (step) |'
    assert rows[5] == '| 2 | 2 | 7.5 min (loading) | 5.0 min (step) |'
    assert len(rows) == 16


def test_two_configs_in_time_and_memory(exlpose_root, monkeypatch):
    config = load(DEMO, exlpose_root, monkeypatch)
    time, memory = compare_steps(config, config, 2, 1, 'cpu')
    assert time.median > 0 and memory.unit == 'MB'
    assert 100 < memory.task < 10000 and memory.median == pytest.approx(1, abs=0.3)


def test_the_loops_are_the_style_loss():
    torch.manual_seed(0)
    low, well = ([torch.randn(2, 5, 4, 3), torch.randn(2, 16, 2, 2)] for _ in range(2))
    assert sum(looped_gram(low, well)).item() == pytest.approx(sum(GramLoss(1.)(low, well)).item(), rel=1e-4)


@pytest.mark.parametrize('against', [False, True])
def test_the_tool(against, exlpose_root, tmp_path):
    config = str(ROOT / 'configs' / DEMO)
    done = subprocess.run(
        [sys.executable, 'tools/benchmark.py', config, *(['--against', config] if against else []), '--repeats', '1',
         '--batch-size', '2', '--threads', '1', '--data-root', str(exlpose_root), '--out', str(tmp_path / 'costs.json')],
        capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    costs = json.loads((tmp_path / 'costs.json').read_text())
    assert len(costs) == (2 if against else 8) and all(cost['median'] > 0 for cost in costs)
    assert against or '| 8 | 8 | ' in done.stdout
