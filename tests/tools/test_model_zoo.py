"""The committed table of configs and the metafile against the configs themselves."""

import re
import shutil
from pathlib import Path

import pytest
from list_configs import PAPER_METRIC, complexity, description, paper_results, shipped_configs, table_row, write_tables
from mmengine.config import Config
from mmengine.fileio import load
from mmpose.registry import MODELS

from exlpose_mm.engine.building import strip_init_cfg

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FOLDERS = sorted({path.parent.as_posix() for path in shipped_configs(CONFIGS)})
METAFILE = CONFIGS / 'exlpose' / 'metafile.yml'
SMALL = Path('lspet/exlpose_mobilenetv2_1xb32-8e_lspet-128x96.py')


def table(folder: Path) -> str:
    return (folder / 'README.md').read_text(encoding='utf-8')


@pytest.mark.parametrize('folder', FOLDERS)
def test_the_table_of_a_folder_lists_exactly_its_configs(folder):
    links = re.findall(r'^\| \[(.+?)\]\((.+?)\) \| (.+?) \|', table(CONFIGS / folder), re.MULTILINE)
    paths = [path for path in shipped_configs(CONFIGS) if path.parent.as_posix() == folder]
    want = [(path.stem, path.name, description(CONFIGS / path)) for path in paths]
    assert links == want, 'run tools/dev/list_configs.py'


def test_the_page_above_links_exactly_the_folders():
    assert re.findall(r'^\* \[(.+?)\]\((.+?)/README.md\): ', table(CONFIGS), re.M) == [(f, f) for f in FOLDERS]


def test_a_row_of_the_table_is_what_the_tool_writes():
    assert table_row(CONFIGS, SMALL, {}) in table(CONFIGS / SMALL.parent).splitlines()


def test_the_tool_writes_a_page_for_each_folder(tmp_path, monkeypatch):
    """The shipped ones, but for the configs that are left out to be quick."""
    root = tmp_path / 'configs'
    shutil.copytree(CONFIGS, root)
    few = [Path('exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py'), SMALL]
    monkeypatch.setattr('list_configs.shipped_configs', lambda root: few)
    assert write_tables(root) == [root / name / 'README.md' for name in ('exlpose', 'lspet', '.')]
    for path in few:
        lines = table(root / path.parent).splitlines()
        assert [re.search(r'\((.+?)\)', line)[1] for line in lines if line.startswith('| [')] == [path.name]
        assert set(lines) <= set(table(CONFIGS / path.parent).splitlines())
    assert set(table(root).splitlines()) <= set(table(CONFIGS).splitlines())


def test_complexity_counts_parameters_and_multiply_accumulates():
    parameters, flops = complexity(CONFIGS / SMALL)
    config = Config.fromfile(CONFIGS / SMALL)
    strip_init_cfg(config.model)
    assert parameters == sum(p.numel() for p in MODELS.build(config.model).parameters())
    first_convolution = 3 * 32 * 9 * 64 * 48
    assert 10 * first_convolution < flops < 3e8


def test_the_metafile_lists_exactly_the_configs_beside_it():
    models = load(METAFILE)['Models']
    assert [model['Config'] for model in models] == [
        f'configs/{path}' for path in shipped_configs(CONFIGS) if path.parts[0] == 'exlpose'
    ]
    assert all(Path(model['Config']).stem == model['Name'] for model in models)
    collections = {collection['Name'] for collection in load(METAFILE)['Collections']}
    assert {model['In Collection'] for model in models} == collections


def test_the_metafile_claims_no_weights_and_no_results_of_its_own():
    models = load(METAFILE)['Models']
    assert not [model['Name'] for model in models if 'Weights' in model]
    metrics = [name for model in models for result in model.get('Results', ()) for name in result['Metrics']]
    assert set(metrics) == {PAPER_METRIC}
    assert len(paper_results(METAFILE)) == len(metrics) == 3


def test_the_papers_numbers_are_in_the_table():
    for name, ap in paper_results(METAFILE).items():
        (row,) = (line for line in table(CONFIGS / 'exlpose').splitlines() if f'({name})' in line)
        assert row.endswith(f'| {100 * ap:.1f} |')


def test_init_cfg_is_removed_wherever_it_is():
    config = dict(a=dict(init_cfg='x', b=[dict(init_cfg=[1], c='init_cfg')]), init_cfg=None)
    strip_init_cfg(config)
    assert config == dict(a=dict(b=[dict(c='init_cfg')]))


def test_a_config_that_does_not_say_what_it_is(tmp_path):
    path = tmp_path / 'silent.py'
    path.write_text("_base_ = ['other.py']\n# Too late.\n", encoding='utf-8')
    with pytest.raises(ValueError, match='silent.py'):
        description(path)
