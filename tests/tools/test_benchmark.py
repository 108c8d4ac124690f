"""The benchmark: what it compares, and that every part of it runs."""

import itertools
import json
import runpy
from functools import partial

import numpy as np
import pytest
import ratios
import torch
from ratios import compare, looped_gram, metric_cost
from test_configs import ROOT

from exlpose_mm import GramLoss

DEMO = 'demo/exlpose_r18_1xb16-10e_demo-128x96.py'


def test_task_and_yardstick_take_turns(monkeypatch):
    calls, clock = [], itertools.cycle([3.0, 1.0, 8.0, 2.0, 5.0, 5.0])

    def seconds(task):
        task()
        return next(clock)

    monkeypatch.setattr(ratios, 'seconds', seconds)
    found = compare('a / b', lambda: calls.append('a'), lambda: calls.append('b'), repeats=3)
    assert ''.join(calls) == 'abababab'
    assert (found.median, found.low, found.high) == (3.0, 1.0, 4.0)
    assert (found.task, found.yardstick) == (5.0, 2.0)


def test_an_epoch_is_bound_by_the_slower_of_loading_and_step():
    whole, cached, step = (ratios.Ratio('', 1, 1, 1, task, 1) for task in (8 * 0.3, 8 * 0.03, 4 * 0.1))
    rows = ratios.epoch_table(whole, cached, step, batch=4, people=6000).splitlines()[2:]
    assert rows[0] == '| 1 | 1 | 30.0 min (loading) | 10.0 min (step) |'
    assert rows[2] == '| 1 | 4 | 10.0 min (step) | 10.0 min (step) |'
    assert rows[5] == '| 2 | 2 | 7.5 min (loading) | 5.0 min (step) |'
    assert len(rows) == 16


def test_the_loops_are_the_style_loss():
    torch.manual_seed(0)
    low, well = ([torch.randn(2, 5, 4, 3), torch.randn(2, 16, 2, 2)] for _ in range(2))
    assert sum(looped_gram(low, well)).item() == pytest.approx(sum(GramLoss(1.0)(low, well)).item(), rel=1e-4)


@pytest.mark.parametrize(
    'against, parts',
    [
        (
            False,
            [
                'paired sample',
                'cached paired sample',
                'paired step',
                'memory of paired step',
                'style loss',
                'style loss',
                'prediction with LSBN',
                'memory of prediction with LSBN',
                'rows of LL-A',
            ],
        ),
        (True, ['step', 'memory of step']),
    ],
)
def test_the_tool_measures_every_part(against, parts, exlpose_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ratios, 'metric_cost', partial(metric_cost, people=30))
    monkeypatch.setenv('DATA_ROOT', 'set by the tool')
    config, out = str(ROOT / 'configs' / DEMO), tmp_path / 'costs.json'
    runpy.run_path(str(ROOT / 'tools' / 'dev' / 'benchmark.py'))['main'](
        [
            config,
            *(['--against', config] if against else []),
            '--repeats',
            '1',
            '--batch-size',
            '2',
            '--threads',
            str(torch.get_num_threads()),
            '--data-root',
            str(exlpose_root),
            '--out',
            str(out),
        ]
    )
    costs = json.loads(out.read_text(encoding='utf-8'))
    assert [cost['name'].split(' / ')[0] for cost in costs] == parts
    assert all(np.isfinite(c['median']) and c['median'] > 0 and c['low'] <= c['median'] <= c['high'] for c in costs)
    assert all(100 < c['task'] < 10000 for c in costs if c['unit'] == 'MB')
    printed = capsys.readouterr().out
    assert printed.count('| ') > len(costs) and ('| 8 | 8 | ' in printed) != against
