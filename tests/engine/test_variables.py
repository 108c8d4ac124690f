"""data_root and pretrained from outside: in every config they act, or are refused."""

import json
import os
import runpy
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError

import cv2
import mmpose
import numpy as np
import pytest
from conftest import coco_file, person_annotation
from list_configs import shipped_configs
from mmengine.config import Config
from mmengine.runner import Runner
from mmpose.models.backbones import ResNet
from test_tools import DEMO, PAPER, random_checkpoint

from exlpose_mm import cli
from exlpose_mm.apis.deployment import plain_config
from exlpose_mm.engine import zoo
from exlpose_mm.engine.building import strip_init_cfg
from exlpose_mm.engine.variables import ConfigError, VariablesHook, load_config, take_variables
from exlpose_mm.splits import OCN_CAMERAS

ROOT = Path(__file__).resolve().parents[2]
NAMES = [str(path) for path in shipped_configs(ROOT / 'configs')]
LSPET = ROOT / 'configs/lspet/exlpose_mobilenetv2_1xb32-8e_lspet-128x96.py'
REAL = ROOT / 'configs/dark-lspet/exlpose_mobilenetv2_1xb32-6e_dark-lspet-real-128x96.py'
PATHS = ['/data/a b', "/data/it's", 'C:\\data\\new', '/data/[1],2', '/data/100%{}$x', '/data/größe']


def roots(node):
    """Every value of a key `data_root`, and every path of an annotation file that has a folder."""
    found = set()
    if isinstance(node, dict):
        found |= {node['data_root']} if 'data_root' in node else set()
        node = list(node.values())
    for child in node if isinstance(node, (list, tuple)) else ():
        found |= roots(child)
    return found


def data_roots(config):
    return roots(
        [config.get(f'{part}_{kind}') for part in ('train', 'val', 'test') for kind in ('dataloader', 'evaluator')]
    )


def unreachable(*args, **kwargs):
    raise URLError('no network')


def dumped(config, folder):
    """The copy that a run writes to its work dir."""
    path = folder / Path(config).name
    Config.fromfile(config).dump(path)
    return path


class TestDataRoot:
    @pytest.mark.parametrize('name', NAMES)
    def test_of_every_shipped_config(self, name):
        assert data_roots(load_config(ROOT / 'configs' / name, data_root='/elsewhere')) == {'/elsewhere'}

    @pytest.mark.parametrize('path', PATHS)
    def test_of_any_spelling_by_option_and_by_environment(self, path, monkeypatch, tmp_path):
        copy = dumped(PAPER, tmp_path)
        for config in (PAPER, copy):
            assert data_roots(load_config(config, data_root=path)) == {path}
            assert 'DATA_ROOT' not in os.environ
        monkeypatch.setenv('DATA_ROOT', path)
        assert data_roots(Config.fromfile(PAPER)) == {path}, 'any tool that reads the config'
        for config in (PAPER, copy):
            assert data_roots(load_config(config)) == {path}

    def test_of_an_empty_environment_variable_is_the_configs(self, monkeypatch):
        wanted = data_roots(Config.fromfile(PAPER))
        monkeypatch.setenv('DATA_ROOT', '')
        assert data_roots(Config.fromfile(PAPER)) == data_roots(load_config(PAPER)) == wanted

    def test_of_a_copy_in_a_work_dir(self, tmp_path):
        config = load_config(dumped(LSPET, tmp_path), data_root='/elsewhere')
        assert data_roots(config) == {'/elsewhere'} and config.data_root == '/elsewhere'
        assert set(config.test_evaluator.ann_files.values()) == {'/elsewhere/annotations/lspet14_val.json'}
        assert isinstance(config.train_dataloader, dict) and config.train_dataloader.batch_size == 32

    def test_of_a_deployed_config(self, tmp_path):
        plain_config(Config.fromfile(PAPER)).dump(tmp_path / 'config.py')
        assert data_roots(load_config(tmp_path / 'config.py', data_root='/elsewhere')) == {'/elsewhere'}

    def test_other_paths_stay(self, tmp_path):
        (tmp_path / 'own.py').write_text(
            'test_dataloader = dict('
            "dataset=dict(data_root='data', ann_file='data/a.json', bbox_file='database/b.json'))"
            "\nmodel = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='data/r50.pth')))"
            "\nload_from='data/x.pth'",
            encoding='utf-8',
        )
        config = load_config(tmp_path / 'own.py', data_root='/d')
        assert config.test_dataloader.dataset == dict(data_root='/d', ann_file='/d/a.json', bbox_file='database/b.json')
        assert config.model.backbone.init_cfg.checkpoint == 'data/r50.pth' and config.load_from == 'data/x.pth'

    def test_of_several_data_sets_or_none_is_refused(self, tmp_path):
        with pytest.raises(ConfigError, match='2 that differ: data/dark-lspet, data/exlpose-example'):
            load_config(dumped(REAL, tmp_path), data_root='/elsewhere')
        (tmp_path / 'mine.py').write_text(
            f"_base_ = ['{PAPER}']\ntrain_dataloader = dict(dataset=dict(data_root='/data/mine'))", encoding='utf-8'
        )
        with pytest.raises(ConfigError, match='2 that differ: /data/mine, /elsewhere'):
            load_config(tmp_path / 'mine.py', data_root='/elsewhere')
        (tmp_path / 'own.py').write_text("model = dict(type='TopdownPoseEstimator')", encoding='utf-8')
        with pytest.raises(ConfigError, match='own.py: data_root=/elsewhere .* none'):
            load_config(tmp_path / 'own.py', data_root='/elsewhere')


class TestPretrained:
    @pytest.mark.parametrize('name', NAMES)
    def test_of_every_shipped_config(self, name):
        unpretrained = ('dual-teacher-unpaired', DEMO.stem, 'exlpose_rtmdet-small', 'exlpose_rtmdet-mobilenetv2')
        if Path(name).name.startswith(unpretrained) or '_rtmo-' in name or '_dekr_r18_' in name:
            with pytest.raises(ConfigError, match='there are none'):
                load_config(ROOT / 'configs' / name, pretrained='/weights/b.pth')
            return
        config = load_config(ROOT / 'configs' / name, pretrained='/weights/b.pth')
        assert config.model.backbone.init_cfg.checkpoint == '/weights/b.pth'

    def test_of_a_copy(self, tmp_path):
        config = load_config(dumped(LSPET, tmp_path), pretrained="it's.pth")
        assert config.model.backbone.init_cfg.checkpoint == config.pretrained == "it's.pth"

    def test_without_a_place_is_refused(self, tmp_path):
        (tmp_path / 'own.py').write_text("model = dict(backbone=dict(type='ResNet', init_cfg=None))", encoding='utf-8')
        with pytest.raises(ConfigError, match='pretrained=b.pth .*init_cfg of its backbone, but there are none'):
            load_config(tmp_path / 'own.py', pretrained='b.pth')


class TestOptions:
    @pytest.mark.parametrize(
        'argv, rest, variables',
        [
            (
                ['c.py', '--cfg-options', 'data_root=/d', 'train_cfg.max_epochs=1', '--amp'],
                ['c.py', '--cfg-options', 'train_cfg.max_epochs=1', '--amp'],
                dict(data_root='/d'),
            ),
            (['c.py', '--cfg-options', 'pretrained=x=y'], ['c.py'], dict(pretrained='x=y')),
            (['c.py', '--cfg-options', 'data_root=/d', '--amp'], ['c.py', '--amp'], dict(data_root='/d')),
            (
                ['c.py', '--cfg-options=data_root=/d', '--work-dir', 'w'],
                ['c.py', '--work-dir', 'w'],
                dict(data_root='/d'),
            ),
            (['c.py', '--work-dir', 'data_root=x'], ['c.py', '--work-dir', 'data_root=x'], {}),
        ],
    )
    def test_are_taken_out(self, argv, rest, variables):
        assert take_variables(argv) == (rest, variables)

    @pytest.mark.parametrize('option', ['codec.sigma=3', 'train_pipeline.0.type=LoadImage', 'train_confg.max_epochs=1'])
    def test_that_nothing_reads_are_refused(self, option):
        with pytest.raises(ConfigError, match=f'{option} would change nothing'):
            take_variables(['c.py', '--cfg-options', option])


class TestTools:
    def test_say_so_without_a_traceback(self, monkeypatch, tmp_path):
        monkeypatch.setattr(sys, 'argv', ['train.py', 'nowhere.py'])
        with pytest.raises(SystemExit, match='^train: no config nowhere.py$'):
            cli.run_mmpose_tool('train')
        monkeypatch.setattr(sys, 'argv', ['test.py', str(DEMO), 'x.pth', '--cfg-options', 'codec.sigma=1'])
        with pytest.raises(SystemExit, match='^test: --cfg-options codec.sigma=1 would change nothing'):
            cli.run_mmpose_tool('test')
        copy = dumped(REAL, tmp_path)
        monkeypatch.setattr(sys, 'argv', ['test.py', str(copy), 'x.pth', '--cfg-options', 'data_root=/d'])
        with pytest.raises(SystemExit, match='^test: .*2 that differ'):
            cli.run_mmpose_tool('test')

    @pytest.mark.parametrize(
        'checkpoint, message',
        [
            ('nowhere.pth', 'the checkpoint nowhere.pth can not be found'),
            ('http://127.0.0.1:9/r50.pth', 'a download failed .*: fetch the checkpoint .*pretrained=FILE'),
            ('torchvision://resnet18', 'a download failed .*: fetch the checkpoint .*pretrained=FILE'),
        ],
    )
    def test_say_which_weights_there_are_not(self, monkeypatch, tmp_path, exlpose_root, checkpoint, message):
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
        monkeypatch.setattr('torch.hub.urlopen', unreachable)
        options = [f'data_root={exlpose_root}', f'pretrained={checkpoint}']
        argv = ['train', str(PAPER), '--work-dir', str(tmp_path), '--cfg-options', *options]
        monkeypatch.setattr(sys, 'argv', argv)
        with pytest.raises(SystemExit, match=f'^train: {message}'):
            cli.run_mmpose_tool('train')

    @pytest.mark.parametrize(
        'name, missing', [('train', 'train_cfg, optim_wrapper'), ('test', 'test_cfg, test_evaluator')]
    )
    def test_refuse_a_config_for_inference(self, monkeypatch, name, missing):
        monkeypatch.setattr(sys, 'argv', [name, zoo.CONFIG, *[zoo.WEIGHTS] * (name == 'test')])
        with pytest.raises(SystemExit, match=f'^{name}: .*exlpose.py has no {missing}: it is of a model for inference'):
            cli.run_mmpose_tool(name)

    @pytest.mark.parametrize('locale', [{}, dict(LC_ALL='C', PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')])
    def test_a_copy_is_tested_on_the_data_that_were_asked_for(self, exlpose_root, tmp_path, locale):
        """In a folder whose name mmengine's own options would cut to pieces, and ASCII does not know."""
        odd = exlpose_root.rename(exlpose_root.with_name("it's [my], größte data"))
        done = run(
            ROOT / 'tools' / 'test.py',
            dumped(DEMO, tmp_path),
            random_checkpoint(DEMO, tmp_path / 'model.pth'),
            '--work-dir',
            tmp_path / 'work',
            '--cfg-options',
            f'data_root={odd}',
            'test_dataloader.num_workers=0',
            'test_dataloader.persistent_workers=False',
            **locale,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert 'LL-A' in done.stdout + done.stderr

    def test_mmposes_own_script_refuses(self, exlpose_root, tmp_path):
        """Old data are there, as they would be: they must not be tested in place of the new ones."""
        config = tmp_path / 'copy.py'
        load_config(DEMO, data_root=str(exlpose_root)).dump(config)
        done = run(
            Path(mmpose.__file__).parent / '.mim' / 'tools' / 'test.py',
            config,
            random_checkpoint(DEMO, tmp_path / 'model.pth'),
            '--work-dir',
            tmp_path / 'work',
            '--cfg-options',
            'data_root=/elsewhere',
            'test_dataloader.num_workers=0',
            'test_dataloader.persistent_workers=False',
        )
        assert done.returncode != 0 and 'data_root=/elsewhere changes nothing here' in done.stderr

    def test_the_hook_lets_every_shipped_config_pass(self):
        for name in NAMES:
            VariablesHook().before_run(type('Runner', (), dict(cfg=Config.fromfile(ROOT / 'configs' / name))))

    def test_the_hook_lets_places_be_set_one_by_one(self):
        config = Config.fromfile(PAPER)
        config.merge_from_dict({'train_dataloader.dataset.data_root': '/a', 'val_evaluator.data_root': '/b'})
        for part in (config.val_dataloader, config.test_dataloader):
            for dataset in part.dataset.datasets:
                dataset.data_root = '/c'
        config.test_evaluator.data_root = '/d'
        VariablesHook().before_run(type('Runner', (), dict(cfg=config)))
        config.data_root = '/e'
        with pytest.raises(ConfigError, match='data_root=/e changes nothing here'):
            VariablesHook().before_run(type('Runner', (), dict(cfg=config)))

    @pytest.mark.parametrize('line, fits', [('', False), ('pretrained = None\n', True)])
    def test_the_hook_asks_whether_a_backbone_shall_start_from_random_weights(self, line, fits, tmp_path):
        (base,) = (ROOT / 'configs' / 'lspet').glob('exlpose_*.py')
        backbone = "dict(_delete_=True, type='ResNet', depth=50)"
        text = f'_base_ = [{str(base)!r}]\n{line}model = dict(backbone={backbone})'
        (tmp_path / 'child.py').write_text(text, encoding='utf-8')
        refused = pytest.raises(ConfigError, match='has no checkpoint in the init_cfg of .*write `pretrained = None`')
        with nullcontext() if fits else refused:
            VariablesHook().before_run(type('Runner', (), dict(cfg=Config.fromfile(tmp_path / 'child.py'))))

    def test_the_hook_sees_a_child_that_sets_what_its_base_has_used(self, tmp_path):
        (tmp_path / 'child.py').write_text(f"_base_ = [{str(PAPER)!r}]\npretrained = 'mine.pth'", encoding='utf-8')
        with pytest.raises(ConfigError, match='pretrained=mine.pth changes nothing here.*resnet50.*PRETRAINED'):
            VariablesHook().before_run(type('Runner', (), dict(cfg=Config.fromfile(tmp_path / 'child.py'))))

    def test_a_tool_with_a_data_root_refuses_where_it_is_not_clear(self, tmp_path):
        main = runpy.run_path(str(ROOT / 'tools' / 'browse_dataset.py'))['main']
        with pytest.raises(SystemExit, match='browse_dataset: .*2 that differ'):
            main([str(dumped(REAL, tmp_path)), '--data-root', '/elsewhere'])


def run(script, *args, **environment):
    return subprocess.run(
        [sys.executable, str(script), *map(str, args)],
        capture_output=True,
        encoding='utf-8',
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', **environment},
    )


OCN = 'exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-ocn-256x192.py'


def sizes(node, name):
    """Values of a key, at any depth."""
    found = [tuple(node[name])] if isinstance(node, dict) and name in node else []
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        found += sizes(child, name)
    return found


class TestInputScale:
    @pytest.mark.parametrize('name', NAMES)
    def test_of_every_shipped_config(self, name):
        path, plain = ROOT / 'configs' / name, Config.fromfile(ROOT / 'configs' / name).to_dict()
        if sizes(plain, 'in_featuremap_size'):
            with pytest.raises(
                ConfigError, match='input_scale=2: its weights are for one input size, as in_featuremap'
            ):
                load_config(path, input_scale=2)
            return
        if name.startswith('detection'):
            with pytest.raises(ConfigError, match='input_scale=2 changes nothing, there is no input_size'):
                load_config(path, input_scale=2)
            return
        for key in ('input_size', 'heatmap_size'):
            wanted = [(2 * width, 2 * height) for width, height in sizes(plain, key)]
            assert sizes(load_config(path, input_scale='2').to_dict(), key) == wanted != []

    @pytest.mark.parametrize(
        'scale, message',
        [
            ('wide', 'no positive number'),
            ('-1', 'no positive number'),
            ('0', 'no positive number'),
            ('inf', 'no positive number'),
            ('0.75', '144 x 192 pixels are no multiples of 32.* 192 x 256'),
        ],
    )
    def test_that_no_network_takes(self, scale, message):
        with pytest.raises(ConfigError, match=f'{PAPER.name}: input_scale={scale}.*{message}'):
            load_config(PAPER, input_scale=scale)

    def test_of_a_config_without_sizes(self, tmp_path):
        (tmp_path / 'odd.py').write_text('model = dict()', encoding='utf-8')
        with pytest.raises(ConfigError, match='odd.py: input_scale=2 changes nothing, there is no input_size in it'):
            load_config(tmp_path / 'odd.py', input_scale=2)

    def test_is_an_option_of_our_scripts_alone(self):
        assert take_variables(['c.py', '--cfg-options', 'input_scale=0.5']) == (['c.py'], dict(input_scale='0.5'))
        with pytest.raises(ConfigError, match='input_scale=2 changes nothing here; use `mim test exlpose_mm`'):
            VariablesHook().before_run(SimpleNamespace(cfg=Config(dict(input_scale=2))))

    def test_of_the_two_other_cameras(self, tmp_path, monkeypatch):
        """The rows are those of any test, and the network sees the size that was asked for."""
        for i, camera in enumerate(OCN_CAMERAS):
            content = coco_file([(i, f'{camera}.png', [person_annotation(i, i, (40, 10, 34, 74))])])
            (tmp_path / f'ExLPose-OC_test_{camera}.json').write_text(json.dumps(content), encoding='utf-8')
            cv2.imwrite(
                str(tmp_path / f'{camera}.png'), np.random.default_rng(i).integers(0, 9, (96, 128, 3), np.uint8)
            )
        seen = []

        def forward(backbone, images, stock=ResNet.forward):
            seen.append(tuple(images.shape[-2:]))
            return stock(backbone, images)

        monkeypatch.setattr(ResNet, 'forward', forward)
        for scale in (0.5, 1):
            config = load_config(ROOT / 'configs' / OCN, data_root=str(tmp_path), input_scale=scale)
            strip_init_cfg(config.model)
            config.work_dir = str(tmp_path / f'work-{scale}')
            config.test_dataloader.update(num_workers=0, persistent_workers=False)
            result = Runner.from_cfg(config).test()
            assert {key.partition('/')[0] for key in result} == {*OCN_CAMERAS, 'OCN'}
            assert result['OCN/OKS'] == pytest.approx(np.mean([result[f'{camera}/OKS'] for camera in OCN_CAMERAS]))
        assert seen == [(128, 96), (128, 96), (256, 192), (256, 192)], 'each image and its mirror image'
