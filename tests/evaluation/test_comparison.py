import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from exlpose_mm.evaluation.comparison import Comparison, ComparisonError, find_results, read_results, signed
from exlpose_mm.evaluation.results import MatchedDetections, Results, ResultsError

ROOT = Path(__file__).resolve().parents[2]


def make_matches(shares, seed=0, images=60, names=None):
    """Two people an image, each found at the first ``share`` of ten OKS thresholds."""
    rng = np.random.default_rng(seed)
    shares = np.broadcast_to(shares, (images,))
    outcomes = np.where(np.arange(10)[:, None] < 10 * np.repeat(shares, 2), 1, -1)
    return MatchedDetections(
        images=np.array(names or [f'{n}.png' for n in range(images)]),
        people=np.full(images, 2),
        owners=np.repeat(np.arange(images), 2),
        scores=np.sort(rng.uniform(size=2 * images))[::-1],
        outcomes=outcomes.astype(np.int8),
    )


def make_results(means=None, boxes='ground truth', **matches):
    rows = {row.replace('_', '-'): found for row, found in matches.items()}
    table = {row: {'AP': found.average_precision()} for row, found in rows.items()}
    for row, parts in (means or {}).items():
        table[row] = {'AP': float(np.mean([table[part]['AP'] for part in parts]))}
    return Results(table, boxes, means or {}, rows)


@pytest.fixture
def three():
    """A baseline, one that is better on some images, and a number of plain MMPose."""
    mixed = np.random.default_rng(1).choice([0.2, 0.6], 60)
    low = make_results(LL_A=make_matches(mixed), WL=make_matches(0.5))
    better = mixed + 0.2 * (np.arange(60) % 3 == 0)
    high = make_results(LL_A=make_matches(better), WL=make_matches(0.5))
    return dict(low=low, high=high, plain=Results({'LL-A': {'AP': 0.301}}))


# --- Differences -------------------------------------------------------------------------


def test_differences_are_of_the_same_resamples(three):
    comparison = Comparison(three, baseline='low', resamples=300)
    difference, low, high = comparison.difference('high', 'LL-A')
    assert difference == pytest.approx(comparison.ap('high', 'LL-A') - comparison.ap('low', 'LL-A'))
    assert 0 < low < difference < high
    alone = np.diff(comparison.interval('low', 'LL-A'))[0]
    assert high - low < 0.7 * alone  # unpaired it would be more than that of one result


def test_equal_results_differ_by_exactly_nothing(three):
    comparison = Comparison(dict(a=three['low'], b=three['low']), baseline='a', resamples=20)
    assert comparison.difference('b', 'LL-A') == (0, 0, 0)
    assert np.ptp(comparison.samples['b']['LL-A']) > 0


def test_interval_covers_ap_and_narrows_with_more_images():
    rng = np.random.default_rng(0)
    widths = []
    for images in (30, 480):
        result = make_results(WL=make_matches(rng.choice([0.1, 0.9], images), images=images))
        comparison = Comparison(dict(a=result), resamples=300)
        low, high = comparison.interval('a', 'WL')
        assert low < comparison.ap('a', 'WL') < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)  # 1 / sqrt(images)


def test_seed_fixes_the_intervals(three):
    first, again, other = (Comparison(three, 'low', resamples=30, seed=seed) for seed in (1, 1, 2))
    assert first.difference('high', 'LL-A') == again.difference('high', 'LL-A')
    assert first.difference('high', 'LL-A')[1:] != other.difference('high', 'LL-A')[1:]


def test_interval_of_a_mean_of_rows_is_narrower():
    """Two cameras' images are drawn apart, so that errors partly cancel."""
    mixed = np.random.default_rng(1).choice([0.1, 0.9], 60)
    parts = dict(A7M3=make_matches(mixed), RICOH3=make_matches(mixed))
    result = make_results(means={'OCN': ['A7M3', 'RICOH3']}, **parts)
    comparison = Comparison(dict(a=result), resamples=400)
    widths = [np.diff(comparison.interval('a', row))[0] for row in ('A7M3', 'RICOH3', 'OCN')]
    assert widths[2] / np.mean(widths[:2]) == pytest.approx(np.sqrt(0.5), rel=0.2)


def test_plain_numbers_have_no_interval(three):
    comparison = Comparison(three, baseline='low', resamples=10)
    difference, low, high = comparison.difference('plain', 'LL-A')
    assert difference == pytest.approx(0.301 - comparison.ap('low', 'LL-A'))
    assert np.isnan([low, high, *comparison.difference('plain', 'WL')]).all()


# --- Table and plot ----------------------------------------------------------------------


def test_markdown(three):
    comparison = Comparison(three, baseline='low', resamples=50)
    lines = comparison.markdown().splitlines()
    ap = [100 * comparison.ap(name, 'LL-A') for name in ('low', 'high')]
    wl = f'**{100 * comparison.ap("low", "WL"):.1f}**'
    assert ap[1] > max(ap[0], 30.1)
    assert lines[2:7] == [
        '| result | boxes | LL-A | WL |',
        '| --- | ---: | ---: | ---: |',
        f'| low | ground truth | {ap[0]:.1f} | {wl} |',
        f'| high | ground truth | **{ap[1]:.1f}** | {wl} |',
        '| plain | not stated | 30.1 | - |',
    ]
    assert '95 % of 50 resamples' in lines[8]
    difference, low, high = (100 * value for value in comparison.difference('high', 'LL-A'))
    assert lines[12:] == [
        f'| high | {difference:+.1f} [{low:+.1f}, {high:+.1f}] | +0.0 [+0.0, +0.0] |',
        f'| plain | {30.1 - ap[0]:+.1f} | - |',
    ]


def test_trainings_of_one_thing_have_a_mean_and_a_spread():
    runs = {'a@1': (0.10, 0.5), 'b': (0.2, 0.4), 'a@2': (0.12, 0.5), 'a@3': (0.14, float('nan'))}
    results = {name: Results({'LL-A': {'AP': dark}, 'WL': {'AP': lit}}) for name, (dark, lit) in runs.items()}
    lines = Comparison(results, resamples=1).markdown().splitlines()
    assert lines[9:] == [
        'AP over trainings: mean ± standard deviation of one training.',
        '',
        '| result | trainings | LL-A | WL |',
        '| --- | ---: | ---: | ---: |',
        '| a | 3 | 12.0 ± 2.0 | - |',
        '| b | 1 | 20.0 | 40.0 |',
    ]


def test_one_result_without_baseline_has_no_best_and_no_differences(three):
    text = Comparison(dict(low=three['low']), resamples=1).markdown()
    assert text.count('|\n') == 3
    assert '**' not in text


def test_plot_goes_from_light_to_dark(three, tmp_path, monkeypatch):
    labels = []
    monkeypatch.setattr('matplotlib.axes.Axes.set_xticks', lambda self, at, names: labels.extend(names))
    path = tmp_path / 'plot.png'
    rows = {row: {'AP': 0.4} for row in ('LL-E', 'LL-A', 'WL', 'LL-N', 'LL-H')}
    Comparison({**three, 'all': Results(rows)}, resamples=5).plot(str(path))
    assert labels == ['well lit\nWL', 'normal\nLL-N', 'hard\nLL-H', 'extreme\nLL-E']
    ocn = Results({'A7M3': {'AP': 0.4}, 'OCN': {'AP': 0.3}})
    Comparison(dict(a=ocn)).plot(str(path))
    assert labels[4:] == ['A7M3', 'OCN']
    assert cv2.imread(str(path)).std() > 5


# --- Reading -----------------------------------------------------------------------------


def test_work_dirs_and_names(three, tmp_path):
    three['low'].write(str(tmp_path / 'model_a' / '20250101_000000' / 'table'))
    three['high'].write(str(tmp_path / 'model_a' / '20250102_000000' / 'table'))
    plain = tmp_path / 'hrnet' / '20250103_000000' / '20250103_000000.json'
    plain.parent.mkdir(parents=True)
    plain.write_text('{"coco/AP": 0.25}', encoding='utf-8')
    (plain.parent / 'other.json').write_text('{"coco/AP": 0.75}', encoding='utf-8')
    old = tmp_path / 'model_a' / '20250101_000000' / 'table.json'
    named = read_results(
        [
            str(tmp_path / 'model_a'),
            f'old={old}',
            str(tmp_path / 'hrnet'),
            f'hrnet:WL={plain}',
            f'{tmp_path}/model_a/20250101_000000',
        ]
    )
    (tmp_path / 'a@1').symlink_to(tmp_path / 'model_a')
    assert list(read_results([str(tmp_path / 'a@1')])) == ['a@1'], 'not the name behind the link'
    assert named['model_a'].rows == three['high'].rows
    assert named['old'].rows == named['20250101_000000'].rows == three['low'].rows
    assert set(named['model_a'].matches) == {'LL-A', 'WL'}
    assert named['hrnet'].rows == {'LL-A': {'AP': 0.25}, 'WL': {'AP': 0.25}}


def test_results_of_one_name_are_joined(three, tmp_path):
    make_results(A7M3=make_matches(0.3), boxes='yolo.json').write(str(tmp_path / 'ocn'))
    three['low'].write(str(tmp_path / 'll'))
    joined = read_results([f'ours={tmp_path}/ocn.json', f'ours={tmp_path}/ll.json'])['ours']
    assert set(joined.rows) == set(joined.matches) == {'LL-A', 'WL', 'A7M3'}
    assert joined.boxes == 'yolo.json, ground truth'
    with pytest.raises(ComparisonError, match="'ours' has LL-A, WL twice.*NAME=PATH"):
        read_results([f'ours={tmp_path}/ll.json', f'ours={tmp_path}/ll.json'])


def test_folder_without_results(tmp_path):
    with pytest.raises(ResultsError, match=f'no table.json .*in {tmp_path}'):
        find_results(str(tmp_path))


# --- Errors and the command line ---------------------------------------------------------


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(baseline='ours'), r"no result is named 'ours', only \('low', 'high', 'plain'\)"),
        (dict(resamples=0), 'resamples is 0'),
    ],
)
def test_bad_options(three, kwargs, message):
    with pytest.raises(ComparisonError, match=message):
        Comparison(three, **kwargs)


def test_other_images_cannot_be_compared():
    results = dict(
        a=make_results(LL_A=make_matches(0.5)),
        b=make_results(LL_A=make_matches(0.5, names=[f'{n}.jpg' for n in range(60)])),
    )
    with pytest.raises(ComparisonError, match="LL-A of 'a' and of 'b' are not of the same images"):
        Comparison(results, resamples=1)


def run_tool(*args, cwd, **environment):
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'compare.py'), *args],
        cwd=cwd,
        env=environment,
        capture_output=True,
        encoding='utf-8',
    )


def test_command_line(three, tmp_path):
    for name in ('low', 'high'):
        three[name].write(str(tmp_path / name / '20250101_000000' / 'table'))
    (tmp_path / 'out.json').write_text(json.dumps({'coco/AP': 0.123}), encoding='utf-8')
    done = run_tool(
        'low',
        'high',
        'HRNet:WL=out.json',
        '--baseline',
        'low',
        '--out',
        'new/report',
        '--resamples',
        '20',
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    report = (tmp_path / 'new' / 'report.md').read_text(encoding='utf-8')
    assert report in done.stdout
    assert '| HRNet | not stated | - | 12.3 |' in report
    assert cv2.imread(str(tmp_path / 'new' / 'report.png')) is not None


def test_command_line_tells_what_is_wrong(tmp_path):
    done = run_tool('nowhere', cwd=tmp_path)
    assert done.returncode == 2
    assert 'error: cannot read nowhere' in done.stderr and 'Traceback' not in done.stderr


def test_command_line_on_a_terminal_of_ascii(three, tmp_path):
    for name in ('low@1', 'low@2'):
        three['low'].write(str(tmp_path / name / 'table'))
    done = run_tool('low@1', 'low@2', '--resamples', '2', cwd=tmp_path, PYTHONIOENCODING='ascii')
    assert done.returncode == 0, done.stderr
    assert r'mean \xb1 standard deviation' in done.stdout
    assert 'mean ± standard deviation' in (tmp_path / 'comparison.md').read_text(encoding='utf-8')


def test_command_line_prints_what_it_cannot_write(three, tmp_path):
    three['low'].write(str(tmp_path / 'low' / 'table'))
    (tmp_path / 'file').write_text('', encoding='utf-8')
    done = run_tool('low', '--resamples', '2', '--out', 'file/report', cwd=tmp_path)
    assert done.returncode == 1 and '| low |' in done.stdout
    assert '\ncompare: ' in f'\n{done.stderr}' and 'Traceback' not in done.stderr


@pytest.mark.parametrize('share, text', [(-0.0004, '+0.0'), (0.0, '+0.0'), (-0.0006, '-0.1'), (0.0123, '+1.2')])
def test_nothing_has_no_sign_of_its_own(share, text):
    assert signed(share) == text
