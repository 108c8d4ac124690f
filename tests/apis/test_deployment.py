"""The plain model of one lighting: the same predictions without lightings."""

import itertools

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmpose.apis import init_model
from mmpose.registry import DATASETS, MODELS
from test_configs import load

from exlpose_mm.apis.deployment import deploy, plain_config, plain_state_dict
from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.lighting import LIGHTINGS, lsbn_layers

CONFIGS = [
    'exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py',
    'exlpose/exlpose_rtmpose-m_1xb32-32e_exlpose-256x192.py',
    'exlpose/exlpose_td-hm_hrnet-w32_1xb32-32e_exlpose-256x192.py',
    'dark-lspet/dual-teacher_mobilenetv2_1xb32-6e_dark-lspet-128x96.py',
    'dark-lspet/denoised-features-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py',
    'dark-lspet/denoised-unlabelled-adapted_mobilenetv2_1xb32-3e_dark-lspet-192x160.py',
    'exlpose/exlpose-no-lsbn_td-hm_pvt-s_1xb32-32e_exlpose-256x192.py',
]


def randomised(config):
    """A model whose two lightings differ, in evaluation mode."""
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    for layer in lsbn_layers(model):
        for i, bn in enumerate(layer.bns):
            torch.nn.init.uniform_(bn.weight, 0.8 + 0.1 * i, 1.2)
            torch.nn.init.uniform_(bn.running_mean, -0.1, 0.1)
    return model.eval()


@pytest.mark.parametrize(
    'name, lighting',
    [*zip(CONFIGS, itertools.cycle(LIGHTINGS)), (CONFIGS[0], LIGHTINGS[1]), (CONFIGS[4], LIGHTINGS[1])],
)
def test_the_plain_model_predicts_the_same(name, lighting, exlpose_root, tmp_path, monkeypatch):
    config = load(name, exlpose_root, monkeypatch)
    model = randomised(config)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(seed=np.int64(0))), tmp_path / 'ours.pth')
    paths = deploy(config, tmp_path / 'ours.pth', tmp_path / 'plain', lighting)
    plain = init_model(*map(str, paths), device='cpu')
    assert type(plain).__name__ == 'TopdownPoseEstimator'
    assert {type(m).__name__ for m in plain.modules() if 'BN' in type(m).__name__} == set()
    assert plain.dataset_meta['num_keypoints'] == 14

    images = torch.randn(2, 3, *config.codec.input_size[::-1])
    samples = list(_samples(config, lighting))
    want = model.predict(images, samples)
    got = plain.predict(images, list(_samples(config, lighting)))
    for a, b in zip(want, got):
        np.testing.assert_allclose(b.pred_instances.keypoints, a.pred_instances.keypoints, atol=1e-3)
        np.testing.assert_allclose(b.pred_instances.keypoint_scores, a.pred_instances.keypoint_scores, atol=1e-5)


def _samples(config, lighting):
    dataset = DATASETS.build(config.val_dataloader.dataset)
    batch = pseudo_collate([dataset[0], dataset[0]])
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(lighting=lighting))
    return batch['data_samples']


def test_every_image_is_taken_to_be_of_this_lighting(exlpose_root, monkeypatch):
    config = plain_config(load(CONFIGS[0], exlpose_root, monkeypatch), 'well_lit')
    tags = [step for step in config.test_dataloader.dataset.pipeline if step.type == 'TagLighting']
    assert [tag.lighting for tag in tags] == ['well_lit']
    assert 'train_dataloader' not in config and 'optim_wrapper' not in config


def test_a_plain_model_is_refused(exlpose_root, monkeypatch):
    name = 'exlpose/baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py'
    with pytest.raises(ValueError, match='only a LightingPoseEstimator.*TopdownPoseEstimator'):
        plain_config(load(name, exlpose_root, monkeypatch))


def test_the_weights_of_a_plain_model_stay():
    plain = {'backbone.conv1.weight': torch.zeros(1), 'head.final_layer.weight': torch.zeros(1)}
    assert plain_state_dict(plain) == plain


def test_what_an_earlier_version_wrote(exlpose_root, tmp_path, monkeypatch):
    config = load(CONFIGS[0], exlpose_root, monkeypatch)
    weights = {key.replace('head.', 'head.head.', 1): value for key, value in randomised(config).state_dict().items()}
    torch.save(dict(state_dict=weights, meta={}), tmp_path / 'old.pth')
    with pytest.raises(CheckpointError, match=r'old\.pth was written by exlpose_mm 0\.2 or before'):
        deploy(config, tmp_path / 'old.pth', tmp_path / 'plain')


@pytest.mark.parametrize('other, message', [(CONFIGS[2], 'unknown: backbone.conv2.weight'), (CONFIGS[3], 'missing: ')])
def test_another_models_checkpoint(other, message, exlpose_root, tmp_path, monkeypatch):
    state_dict = MODELS.build(load(other, exlpose_root, monkeypatch).model).state_dict()
    torch.save(dict(state_dict=state_dict, meta={}), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match=f'(?s)other.pth is not of the model of this config.*{message}'):
        deploy(load(CONFIGS[0], exlpose_root, monkeypatch), tmp_path / 'other.pth', tmp_path / 'plain')
    assert not (tmp_path / 'plain').exists()


def test_a_deeper_model_of_the_same_kind(exlpose_root, tmp_path, monkeypatch):
    """All that a ResNet-18 needs may be found in another's checkpoint."""
    config = load(CONFIGS[0], exlpose_root, monkeypatch)
    state_dict = MODELS.build(config.model).state_dict()
    for key in [key for key in state_dict if key.startswith('backbone.layer3.1.')]:
        state_dict[key.replace('layer3.1.', 'layer3.2.')] = state_dict[key]
    torch.save(dict(state_dict=state_dict, meta={}), tmp_path / 'deeper.pth')
    with pytest.raises(CheckpointError, match='unknown: backbone.layer3.2.'):
        deploy(config, tmp_path / 'deeper.pth', tmp_path / 'plain')


def test_an_unknown_lighting(exlpose_root, monkeypatch):
    with pytest.raises(ValueError, match="'dusk'"):
        plain_config(load(CONFIGS[0], exlpose_root, monkeypatch), 'dusk')
