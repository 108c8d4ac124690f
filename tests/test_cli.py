"""What the command lines share: progress, counts, output."""

import io
import re
import runpy
import sys
from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from exlpose_mm.cli import Progress, count, device, printable_output

ROOT = Path(__file__).resolve().parents[1]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def progress(monkeypatch, file, tasks, done, seconds):
    """What a bar writes while `done` tasks take so many seconds each."""
    monkeypatch.setattr(sys, 'stdout', file)
    clock = [0.0]
    monkeypatch.setattr('mmengine.utils.timer.time', lambda: clock[0])
    bar = Progress(tasks)
    for _ in range(done):
        clock[0] += seconds
        bar.update()
    return file.getvalue()


def test_progress_in_a_log_file_is_a_line_now_and_then(monkeypatch):
    lines = progress(monkeypatch, io.StringIO(), 800, 800, 0.125).splitlines()
    assert lines == [
        '240 of 800 done in 30 s',
        '480 of 800 done in 60 s',
        '720 of 800 done in 90 s',
        '800 of 800 done in 100 s',
    ]


def test_progress_of_an_unknown_number_of_tasks(monkeypatch):
    assert progress(monkeypatch, io.StringIO(), 0, 5, 20.0) == '2 done in 40 s\n4 done in 80 s\n'


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    text = progress(monkeypatch, Terminal(), 4, 4, 1.0)
    assert text.count('\r') == 4 and '4/4' in text and '\n' not in text


def test_counts():
    assert count('3') == 3 and count('0') == 0
    with pytest.raises(ArgumentTypeError, match='-1 is negative'):
        count('-1')


@pytest.mark.parametrize(
    'tool, arguments',
    [
        ('show_predictions', ['c.py', 'x.pth', '--num', '-1']),
        ('show_predictions', ['c.py', 'x.pth', '--num', '0']),
        ('browse_dataset', ['c.py', '--num', '-1']),
        ('make_pairs', ['--ann', 'a', '--images', 'b', '--out', 'c', '--workers', '-1']),
        ('cache_crops', ['c.py', '--out', 'x', '--samples', '-2']),
    ],
)
def test_negative_counts_are_refused(tool, arguments, capsys):
    parse = runpy.run_path(str(ROOT / 'tools' / f'{tool}.py'))['parse_args']
    with pytest.raises(SystemExit) as stopped:
        parse(arguments)
    assert stopped.value.code == 2
    assert re.search('negative|at least 1', capsys.readouterr().err)


@pytest.mark.parametrize('text', ['gpu', 'cuda:99'])
def test_a_device_that_is_not_there(text):
    with pytest.raises(ArgumentTypeError, match=f"'{text}' cannot be used: "):
        device(text)
    assert device('cpu') == 'cpu'


def test_output_that_the_terminal_cannot_show_is_escaped(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, 'stdout', io.TextIOWrapper(raw, encoding='ascii'))
    printable_output()
    print('5 ± 1')
    sys.stdout.flush()
    assert raw.getvalue() == b'5 \\xb1 1\n'
