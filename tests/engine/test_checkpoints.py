"""Checkpoints that MMEngine loads: all that it writes, and no code."""

import os
import re
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from torch import nn

from exlpose_mm.engine.checkpoints import CheckpointError, load_weights


class Code:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.fixture
def of_a_run():
    """What MMEngine writes beside weights."""
    history = HistoryBuffer([3.0, 1.0], [1, 2])
    return dict(
        state_dict=dict(weight=torch.ones(2), scale=nn.Parameter(torch.zeros(1))),
        optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[dict(lr=0.1, betas=(0.9, 0.99))]),
        message_hub=dict(
            log_scalars=OrderedDict(loss=history), runtime_info=OrderedDict(best=np.float64(0.25), epoch=2)
        ),
        meta=dict(
            epoch=2,
            cfg='model = dict()',
            sigmas=np.array([0.1, 0.2], np.float32),
            names=np.array(['hip', 'Füße']),
            seen=np.array([True]),
            skeleton={(0, 1)},
        ),
    )


@pytest.mark.parametrize('module', ['numpy.core.multiarray', 'numpy._core.multiarray'])
def test_mmengine_loads_what_it_wrote(of_a_run, tmp_path, module):
    """NumPy 1 and 2 name their functions differently; each is to read the other's."""
    torch.save(of_a_run, tmp_path / 'x.pth')
    _rewrite(
        tmp_path / 'x.pth', lambda pickled: re.sub(rb'cnumpy\._?core\.multiarray\n', f'c{module}\n'.encode(), pickled)
    )
    found = CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'), map_location='cpu')
    assert torch.equal(found['state_dict']['weight'], torch.ones(2))
    assert torch.equal(found['state_dict']['scale'], torch.zeros(1))
    assert found['optimizer'] == of_a_run['optimizer']
    history = found['message_hub']['log_scalars']['loss']
    assert type(history) is HistoryBuffer and [part.tolist() for part in history.data] == [[3, 1], [1, 2]]
    assert history.mean() == 4 / 3 and history.statistics('min') == 1
    assert found['message_hub']['runtime_info'] == dict(best=0.25, epoch=2)
    for name in ('sigmas', 'names', 'seen'):
        assert found['meta'][name].dtype == of_a_run['meta'][name].dtype
        assert found['meta'][name].tolist() == of_a_run['meta'][name].tolist()
    assert found['meta']['skeleton'] == {(0, 1)} and found['meta']['cfg'] == 'model = dict()'


def _rewrite(path, change):
    """Change the pickle inside a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in members.items():
            archive.writestr(name, change(content) if name.endswith('data.pkl') else content)


class Attribute:
    """Unpickles to an attribute of a class."""

    def __init__(self, *of):
        self.of = of

    def __reduce__(self):
        return getattr, self.of


class Odd:
    """Of no package that may be named."""


@pytest.mark.parametrize(
    'foreign, word',
    [
        (Odd(), 'Odd'),
        (Attribute(HistoryBuffer, '__init__'), '__init__'),
        (Attribute(np.ndarray, 'min'), 'ndarray'),
        (np.array([Odd()]), 'O'),
        (Path('x'), 'Path'),
    ],
)
def test_mmengine_refuses_what_it_does_not_write(of_a_run, tmp_path, monkeypatch, foreign, word):
    path = tmp_path / 'x.pth'
    torch.save(dict(of_a_run, note=foreign), path)
    with pytest.raises(CheckpointError, match=f'{path} is refused.*{word}.*keep_weights') as error:
        CheckpointLoader.load_checkpoint(str(path))
    monkeypatch.chdir(tmp_path)
    exec(re.search('python -c "(.*)"$', str(error.value))[1])
    assert set(CheckpointLoader.load_checkpoint(str(tmp_path / 'weights.pth'))['state_dict']) == {'weight', 'scale'}


@pytest.mark.parametrize(
    'load',
    [
        lambda path: CheckpointLoader.load_checkpoint(path),
        lambda path: load_checkpoint(nn.Linear(1, 1), path),
        lambda path: load_checkpoint(nn.Linear(1, 1), 'https://example.com/' + path),
    ],
)
def test_mmengine_runs_no_code_of_a_checkpoint(of_a_run, tmp_path, monkeypatch, load):
    monkeypatch.setattr(
        torch.hub,
        'download_url_to_file',
        lambda url, to, **_: shutil.copy(url.removeprefix('https://example.com/'), to),
    )
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))
    made = tmp_path / 'made_by_the_pickle'
    torch.save(dict(of_a_run, note=Code(made)), tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match='mkdir'):
        load(str(tmp_path / 'x.pth'))
    assert not made.exists()
    torch.load(tmp_path / 'x.pth', weights_only=False)
    assert made.exists()


def test_downloads_are_kept(of_a_run, tmp_path, monkeypatch):
    torch.save(of_a_run, tmp_path / 'x.pth')
    urls = []
    monkeypatch.setattr(
        torch.hub, 'download_url_to_file', lambda url, to, **_: urls.append(url) or shutil.copy(tmp_path / 'x.pth', to)
    )
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))
    for _ in range(2):
        found = CheckpointLoader.load_checkpoint('https://example.com/zoo/x.pth?key=1', map_location='cpu')
        assert torch.equal(found['state_dict']['weight'], torch.ones(2))
    assert torch.equal(load_weights('https://example.com/zoo/x.pth?key=1')['weight'], torch.ones(2))
    assert urls == ['https://example.com/zoo/x.pth?key=1']
    assert (tmp_path / 'hub' / 'hub' / 'checkpoints' / 'x.pth').is_file()


def test_mmengine_loads_weights_of_the_older_format(tmp_path):
    torch.save(dict(weight=torch.ones(2)), tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    assert torch.equal(CheckpointLoader.load_checkpoint(str(tmp_path / 'old.pth'))['weight'], torch.ones(2))
    torch.save(dict(weight=Code(tmp_path / 'made')), tmp_path / 'code.pth', _use_new_zipfile_serialization=False)
    torch.jit.script(nn.ReLU()).save(str(tmp_path / 'script.pth'))
    for name in ('code', 'script'):
        with pytest.raises(CheckpointError, match=f'{name}.pth'):
            CheckpointLoader.load_checkpoint(str(tmp_path / f'{name}.pth'))
    assert not (tmp_path / 'made').exists()
    with pytest.raises(FileNotFoundError, match='nothing.pth'):
        CheckpointLoader.load_checkpoint('nothing.pth')
