"""ONNX files: what they compute, for every kind of head and any batch."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.structures import PoseDataSample
from test_configs import load
from test_deployment import CONFIGS, randomised

from exlpose_mm.apis import onnx_export
from exlpose_mm.apis.deployment import plain_config
from exlpose_mm.apis.onnx_export import ExportError, export, load_plain, session
from exlpose_mm.engine.checkpoints import CheckpointError


def trained(name, root, folder, monkeypatch):
    """A config, its model with weights that differ between lightings, and the checkpoint."""
    config = load(name, root, monkeypatch)
    model = randomised(config)
    for weight in model.parameters():
        if weight.dim() > 1:  # else little of the image reaches the output
            torch.nn.init.kaiming_normal_(weight)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'model.pth')
    return config, model, folder / 'model.pth'


@pytest.mark.parametrize('name', CONFIGS)
def test_the_file_computes_what_the_lightings_network_does(name, exlpose_root, tmp_path, monkeypatch):
    config, model, checkpoint = trained(name, exlpose_root, tmp_path, monkeypatch)
    size = tuple(config.codec.input_size)
    times = export(load_plain(config, checkpoint), tmp_path / 'model.onnx', size, repeats=1)
    assert [*times] == ['torch', 'torch, folded', 'onnxruntime'] and all(seconds > 0 for seconds in times.values())

    crops = 255 * torch.rand(2, 3, *size[::-1])
    samples = [PoseDataSample(metainfo=dict(lighting='low_light')) for _ in crops]
    batch = model.data_preprocessor(dict(inputs=list(crops), data_samples=samples))
    with torch.no_grad():
        wanted = model(batch['inputs'], None, mode='tensor')
    wanted = wanted if isinstance(wanted, tuple) else [wanted[-1] if isinstance(wanted, list) else wanted]
    found = session(tmp_path / 'model.onnx')(crops)
    assert len(found) == len(wanted)
    for ours, theirs in zip(wanted, found):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-3 * ours.abs().max().item())


def test_lightings_differ(exlpose_root, tmp_path, monkeypatch):
    config, _, checkpoint = trained(CONFIGS[-1], exlpose_root, tmp_path, monkeypatch)
    crops = 255 * torch.rand(1, 3, 128, 96)
    outputs = []
    for name in ('low_light', 'well_lit'):
        export(load_plain(config, checkpoint, name), tmp_path / f'{name}.onnx', (96, 128), repeats=1)
        outputs.append(session(tmp_path / f'{name}.onnx')(crops)[0])
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-3 * np.abs(outputs[0]).max()


def test_a_plain_config_is_taken_as_it_is(exlpose_root, tmp_path, monkeypatch):
    config, _, _ = trained(CONFIGS[-1], exlpose_root, tmp_path, monkeypatch)
    plain = plain_config(config)
    model = onnx_export.build_model(plain.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'plain.pth')
    loaded = load_plain(Config(plain.to_dict()), tmp_path / 'plain.pth')
    torch.testing.assert_close(loaded.state_dict(), model.state_dict())


def test_a_checkpoint_of_another_model(exlpose_root, tmp_path, monkeypatch):
    _, _, checkpoint = trained(CONFIGS[-1], exlpose_root, tmp_path, monkeypatch)
    with pytest.raises(CheckpointError, match='does not fit'):
        load_plain(load(CONFIGS[0], exlpose_root, monkeypatch), checkpoint)


def test_a_wrong_file_is_refused(exlpose_root, tmp_path, monkeypatch):
    """As if folding had gone wrong."""
    config, _, checkpoint = trained(CONFIGS[-1], exlpose_root, tmp_path, monkeypatch)

    def fold_wrongly(model):
        with torch.no_grad():
            model.head.final_layer.bias += 1
        return model

    monkeypatch.setattr(onnx_export, 'fuse_conv_bn', fold_wrongly)
    with pytest.raises(ExportError, match='differs from torch'):
        export(load_plain(config, checkpoint), tmp_path / 'model.onnx', (96, 128))
    assert not list(tmp_path.glob('*.onnx*'))


@pytest.mark.parametrize(
    'name',
    [
        'dark-lspet/baseline-all_mobilenetv2_1xb32-6e_dark-lspet-128x96.py',
        'exlpose/exlpose-no-lsbn_cpn_r50_1xb32-32e_exlpose-256x192.py',
    ],
)
def test_networks_without_lsbn(name, exlpose_root, tmp_path, monkeypatch):
    config, model, checkpoint = trained(name, exlpose_root, tmp_path, monkeypatch)
    size = tuple(config.codec.input_size)
    outputs = {}
    crops = 255 * torch.rand(1, 3, *size[::-1])
    for lighting in ('low_light', 'well_lit'):
        export(load_plain(config, checkpoint, lighting), tmp_path / 'model.onnx', size, repeats=1)
        samples = [PoseDataSample(metainfo=dict(lighting=lighting))]
        batch = model.data_preprocessor(dict(inputs=list(crops), data_samples=samples))
        with torch.no_grad():
            wanted = model(batch['inputs'], None, mode='tensor')
        wanted = wanted[-1] if isinstance(wanted, list) else wanted
        outputs[lighting] = session(tmp_path / 'model.onnx')(crops)[0]
        np.testing.assert_allclose(outputs[lighting], wanted.numpy(), atol=1e-3 * wanted.abs().max().item())
    assert np.abs(outputs['low_light'] - outputs['well_lit']).max() > 1e-3 * wanted.abs().max()


def test_a_network_that_torch_cannot_export(tmp_path, exlpose_root, monkeypatch):
    config, _, checkpoint = trained(CONFIGS[-1], exlpose_root, tmp_path, monkeypatch)
    model = load_plain(config, checkpoint)
    model.head.final_layer.register_forward_hook(lambda module, inputs, output: torch.linalg.qr(output)[0])
    with pytest.raises(ExportError, match='torch cannot export'):
        export(model, tmp_path / 'model.onnx', (96, 128))
