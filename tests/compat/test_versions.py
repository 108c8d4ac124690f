"""What is needed beside this package, and what is said when it is not there or not as tested."""

import importlib
import platform
import re
import subprocess
import sys
import warnings
from pathlib import Path

import mmdet
import mmpose
import pytest
import torch

from exlpose_mm.compat import versions
from exlpose_mm.compat.versions import INSTALL, TESTED, StackError, check_installed, untested, warn_untested

ROOT = Path(__file__).resolve().parents[2]


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-c', code], capture_output=True, encoding='utf-8', cwd=ROOT)


BLOCK = 'import sys; sys.modules.update(dict.fromkeys(%r))\n'
"""As if these were not installed."""


def test_nothing_is_imported_that_training_does_not_need():
    """All modules of the package, of which the configs in ``zoo`` are none."""
    paths = [path.relative_to(ROOT).with_suffix('') for path in (ROOT / 'exlpose_mm').rglob('[a-z]*.py')]
    modules = ['.'.join(path.parts) for path in paths if path.name != 'mmcv_ext' and 'zoo' not in path.parent.parts]
    done = run(
        BLOCK % ['lmdb', 'jinja2', 'onnx', 'onnxruntime', 'psutil', 'mim', 'pytest'] + f'import {", ".join(modules)}'
    )
    assert len(modules) > 40 and done.returncode == 0, done.stderr


def test_nothing_of_unix_alone_is_imported_at_once():
    unix = re.compile(r'^(import|from) (resource|fcntl|termios|pwd|grp|pty|tty|syslog)\b', re.M)
    files = [*ROOT.glob('exlpose_mm/**/*.py'), *ROOT.glob('tools/**/*.py')]
    assert len(files) > 60 and unix.search('import os\nimport resource\n')
    assert [path for path in files if unix.search(path.read_text(encoding='utf-8'))] == []


@pytest.mark.parametrize(
    'use, extra',
    [
        ('from exlpose_mm.datasets.crop_cache import _reader; _reader("x")', 'cache'),
        ('from exlpose_mm.evaluation.report.page import _environment; _environment()', 'report'),
        ('from exlpose_mm.apis.onnx_export import session; session("x")', 'onnx'),
    ],
)
def test_what_is_missing_is_named_when_it_is_used(use, extra):
    done = run('import exlpose_mm\n' + BLOCK % ['lmdb', 'jinja2', 'onnxruntime'] + use)
    assert re.search(rf'MissingExtraError: \w+ is needed for this.*exlpose_mm\[{extra}\]', done.stderr), done.stderr


@pytest.mark.parametrize('name', INSTALL)
def test_a_missing_package_is_named_with_its_command(name, monkeypatch):
    monkeypatch.setattr(versions, 'find_spec', lambda asked: None if asked == name else object())
    with pytest.raises(StackError, match=re.escape(f'needs {name}, which is not installed: {INSTALL[name]}')):
        check_installed()


def test_a_missing_package_is_named_on_import():
    done = run('import sys; sys.modules["mmpose"] = None\nimport exlpose_mm')
    assert done.returncode and 'mmpose' in done.stderr.splitlines()[-1]


def test_xtcocotools_of_another_numpy(monkeypatch):
    def fail(name):
        raise ValueError('numpy.dtype size changed')

    monkeypatch.setattr(versions, 'import_module', fail)
    with pytest.raises(StackError, match='built for another NumPy .numpy.dtype size changed.*--no-binary xtcocotools'):
        check_installed()


def test_torch_from_before_numpy_2(monkeypatch):
    monkeypatch.setattr(versions, 'installed', lambda: dict(torch='2.1.2+cu121', numpy='2.0.1'))
    with pytest.raises(StackError, match='torch 2.1.2.cu121 cannot use NumPy 2.0.1: pip install "numpy<2"'):
        check_installed()


def test_versions_outside_of_the_tested_ones():
    inside = dict(
        Python='3.12.1',
        torch='2.14.1+cpu',
        numpy='2.2.6',
        mmengine='0.10.7',
        mmcv='2.1.0',
        mmdet='3.2.0',
        mmpose='1.3.2',
    )
    assert untested(inside) == []
    assert untested(dict(inside, torch='2.0.1', mmdet='3.3.0', numpy='2.10.0', Python='3.9.18')) == [
        'Python 3.9.18 (but with 3.10 to 3.12)',
        'torch 2.0.1 (but with 2.1 to 2.14)',
        'numpy 2.10.0 (but with 1.26 to 2.4)',
        'mmdet 3.3.0 (but with 3.2)',
    ]


def test_the_warning_comes_once(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '3.0.0')
    with pytest.warns(UserWarning, match=r'not tested with torch 3.0.0 .*requirements.txt') as found:
        warn_untested()
    assert len(found) == 1
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warn_untested()


def test_pins_are_inside_of_the_tested_versions():
    """Both stacks, and what runs here."""
    for file in ('requirements.txt', 'requirements/openmmlab.txt'):
        pins = dict(re.findall(r'^([\w-]+)==([\d.]+)', (ROOT / file).read_text(encoding='utf-8'), re.M))
        pins['mmcv'] = pins.get('mmcv') or pins['mmcv-lite']
        assert untested(dict({name: pins[name] for name in TESTED if name != 'Python'}, Python='3.11.0')) == []
    here = dict(
        torch=torch.__version__, mmdet=mmdet.__version__, mmpose=mmpose.__version__, Python=platform.python_version()
    )
    assert here.items() <= versions.installed().items()
    assert importlib.import_module('numpy').__version__ == versions.installed()['numpy']


def test_python_versions_are_said_alike():
    text = (ROOT / 'pyproject.toml').read_text(encoding='utf-8')
    assert f'requires-python = ">={TESTED["Python"][0]}"' in text
