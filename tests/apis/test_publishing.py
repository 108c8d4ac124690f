"""A trained model as a config that needs no other file and weights without a pickle."""

import json
import os
import runpy
import struct

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmpose.apis import inference_topdown, init_model
from test_configs import ROOT, load
from test_deployment import randomised
from test_transforms import image

from exlpose_mm.apis.inference import load_model
from exlpose_mm.apis.publishing import inference_config, publish
from exlpose_mm.engine.checkpoints import CheckpointError, read_safetensors, save_half
from exlpose_mm.lighting import LIGHTINGS

TWO_TEACHERS = 'dark-lspet/dual-teacher_mobilenetv2_1xb32-6e_dark-lspet-128x96.py'
CONFIGS = [
    TWO_TEACHERS,
    'exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py',
    'exlpose/exlpose_rtmpose-m_1xb32-32e_exlpose-256x192.py',
    'exlpose/dann_cpn_r50_1xb32-32e_exlpose-256x192.py',
    'lspet/baseline-all_mobilenetv2_1xb32-8e_lspet-128x96.py',
    'dark-lspet/dual-teacher-unpaired_mobilenetv2_1xb48-270i_dark-lspet-128x96.py',  # two data sets
]


def of_a_run(model, path):
    """A checkpoint of what MMEngine writes: weights, optimiser, average."""
    weights = model.state_dict()
    torch.save(dict(state_dict=weights, optimizer=dict(state=weights), ema_state_dict=weights, meta={}), path)
    return path


@pytest.fixture(scope='module')
def trained():
    """A config with both teachers, and its model."""
    with pytest.MonkeyPatch.context() as patch:
        config = load(TWO_TEACHERS, 'nowhere', patch)
        yield config, randomised(config)


@pytest.fixture
def published(trained, tmp_path):
    config, model = trained
    return publish(config, of_a_run(model, tmp_path / 'epoch_6.pth'), tmp_path / 'shared' / 'small')


def header(path):
    """Of the format: eight bytes that say how long it is, and JSON."""
    content = path.read_bytes()
    (length,) = struct.unpack('<Q', content[:8])
    return {name: entry for name, entry in json.loads(content[8 : 8 + length]).items() if name != '__metadata__'}


class TestWeights:
    def test_are_those_of_the_predicting_network_rounded(self, trained, published):
        weights, (config, safe) = trained[1].state_dict(), published
        assert any(name.startswith('momentum_teacher.') for name in weights), 'there is something to leave out'
        found = read_safetensors(safe)
        assert set(found) == set(init_model(str(config), None, device='cpu').state_dict())
        assert {f'bns.{i}' in name for name in found if '.bns.' in name for i in range(2)} == {True, False}
        for name, value in found.items():
            assert torch.equal(value, weights[name].half() if weights[name].is_floating_point() else weights[name])

    def test_take_two_bytes_each_and_no_pickle(self, published):
        entries = header(published[1])
        assert {entry['dtype'] for entry in entries.values()} == {'F16', 'I64'}
        numbers = sum(int(np.prod(entry['shape'])) for entry in entries.values() if entry['dtype'] == 'F16')
        assert published[1].stat().st_size < 2 * numbers + 1e5

    def test_may_be_read_by_whoever_may_read_the_config(self, published):
        config, safe = (path.stat().st_mode for path in published)
        assert config == safe

    def test_load_without_unpickling(self, published, monkeypatch):
        monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: pytest.fail('unpickled'))
        loaded = load_model(*map(str, published))
        for name, value in read_safetensors(published[1]).items():
            assert torch.equal(loaded.state_dict()[name], value.to(loaded.state_dict()[name].dtype))

    def test_of_plain_batch_norms_serve_both_lightings(self, trained, tmp_path, monkeypatch):
        plain = randomised(load('dark-lspet/baseline-all_mobilenetv2_1xb32-6e_dark-lspet-128x96.py', '', monkeypatch))
        found = read_safetensors(publish(trained[0], of_a_run(plain, tmp_path / 'plain.pth'), tmp_path / 'x')[1])
        assert torch.equal(found['backbone.conv1.bn.bns.0.weight'], plain.backbone.conv1.bn.weight.half())
        assert torch.equal(found['backbone.conv1.bn.bns.1.weight'], plain.backbone.conv1.bn.weight.half())

    def test_of_another_model_are_refused(self, trained, published, tmp_path, monkeypatch):
        other = randomised(load(CONFIGS[1], '', monkeypatch))
        with pytest.raises(CheckpointError, match='other.pth is not of this model'):
            publish(trained[0], of_a_run(other, tmp_path / 'other.pth'), tmp_path / 'x')
        assert not (tmp_path / 'x.py').exists() and not (tmp_path / 'x.safetensors').exists()
        weights = read_safetensors(published[1])
        del weights['head.final_layer.weight']
        save_half(weights, tmp_path / 'part.safetensors')
        with pytest.raises(CheckpointError, match='part.safetensors is not of this model.*\n.*head.final_layer.weight'):
            load_model(str(published[0]), str(tmp_path / 'part.safetensors'))

    @pytest.mark.parametrize('value', [7e4, -7e4, float('nan'), float('inf')])
    def test_beyond_half_precision_are_refused(self, tmp_path, value):
        with pytest.raises(CheckpointError, match='ends at 65504.*: variance$'):
            save_half(dict(mean=torch.ones(2), variance=torch.tensor([1.0, value])), tmp_path / 'x.safetensors')
        assert list(tmp_path.iterdir()) == []


class TestConfig:
    @pytest.mark.parametrize('name', CONFIGS)
    def test_predicts_what_the_training_config_predicts(self, name, tmp_path, monkeypatch):
        """By MMPose's own functions, from another folder, with the same rounded weights."""
        config = load(name, 'nowhere', monkeypatch)
        paths = publish(config, of_a_run(randomised(config), tmp_path / 'a.pth'), tmp_path / 'shared' / 'small')
        monkeypatch.chdir(tmp_path)
        small, whole = (load_model(str(source), str(paths[1])) for source in (paths[0], config.filename))
        assert small.dataset_meta['keypoint_name2id'] == whole.dataset_meta['keypoint_name2id']
        for high, lighting in zip((4, 250), LIGHTINGS):
            frame = image(high=high, size=(96, 128))
            (found,), (wanted,) = (inference_topdown(model, frame) for model in (small, whole))
            assert found.lighting == wanted.lighting == lighting
            np.testing.assert_array_equal(found.pred_instances.keypoints, wanted.pred_instances.keypoints)

    def test_names_no_file(self, published):
        text = str(Config.fromfile(published[0]).to_dict())
        words = ('_base_', 'data_root', 'ann_file', 'init_cfg', 'checkpoint', 'teacher', os.sep)
        assert [word for word in words if word in text] == []

    def test_of_a_published_model_is_the_same_again(self, trained):
        once = inference_config(trained[0])
        assert inference_config(once).to_dict() == once.to_dict()
        assert trained[0].model.head.type == 'DualTeacherHead', 'the config that was given is as it was'


class TestFormat:
    def test_a_file_cut_short(self, published):
        published[1].write_bytes(published[1].read_bytes()[:-10])
        with pytest.raises(CheckpointError, match=r'small.safetensors is no safetensors file, or not all of it'):
            load_model(*map(str, published))

    def test_a_pickle_of_this_name(self, published, trained):
        of_a_run(trained[1], published[1])
        with pytest.raises(CheckpointError, match=r'small.safetensors is no safetensors file'):
            init_model(*map(str, published), device='cpu')

    def test_no_file(self, published):
        published[1].unlink()
        with pytest.raises(CheckpointError, match=r'small.safetensors is no safetensors file.*No such file'):
            load_model(*map(str, published))
        with pytest.raises(FileNotFoundError, match='small.safetensors can not be found'):
            init_model(*map(str, published), device='cpu')

    def test_trains_on_from_it(self, published, trained):
        """As ``load_from``, which reads what MMEngine reads."""
        config, model = trained
        fresh = randomised(config)
        torch.nn.init.zeros_(fresh.head.head.final_layer.weight)
        load_checkpoint(fresh, str(published[1]))
        assert torch.equal(fresh.head.head.final_layer.weight, model.head.head.final_layer.weight.half().float())


def test_of_mmengine_are_where_they_are_asked_for(published):
    found = CheckpointLoader.load_checkpoint(str(published[1]), map_location='meta')['state_dict']
    assert {value.device.type for value in found.values()} == {'meta'}


def test_the_tool(trained, tmp_path, capsys):
    main = runpy.run_path(str(ROOT / 'tools/publish_model.py'))['main']
    checkpoint = of_a_run(trained[1], tmp_path / 'epoch_6.pth')
    main([str(ROOT / 'configs' / TWO_TEACHERS), str(checkpoint), str(tmp_path / 'small')])
    assert (tmp_path / 'small.py').is_file() and 'small.safetensors: 11.01 MB' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='publish_model: cannot read checkpoint'):
        main([str(ROOT / 'configs' / TWO_TEACHERS), str(tmp_path / 'none.pth'), str(tmp_path / 'small')])
    assert Config.fromfile(tmp_path / 'small.py').dataset_type == 'ExLPoseDataset'
