"""The worked examples are as short as they say, and their parts do what they say."""

import ast
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from torch.nn.modules.batchnorm import _BatchNorm

from exlpose_mm.datasets.recipes import in_the_dark, own_pairs
from exlpose_mm.engine.building import build_model
from exlpose_mm.lighting import lsbn_layers
from exlpose_mm.models.defaults import default_preprocessor, default_taps
from exlpose_mm.models.passes import extract

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
EXAMPLES = sorted((CONFIGS / 'examples').glob('*.py'))
BEYOND_THE_BASE = {
    'another_backbone': 6,
    'stock_mmpose': 8,
    'coco_in_the_dark': 6,
    'crowdpose_in_the_dark': 6,
    'own_pairs': 4,
    'exlpose-adapted_td-hm_hrnet-w32_1xb64-10e_coco-256x192': 10,
    'exlpose-adapted_rtmpose-m_1xb256-10e_coco-256x192': 10,
    'denoised_td-hm_hrnet-w32_1xb64-10e_coco-256x192': 10,
}


def lines_of(text: str) -> list[str]:
    """What is neither empty nor a comment."""
    return [line for line in text.splitlines() if line.strip() and not line.startswith('#')]


def beyond_the_base(path: Path) -> int:
    text = path.read_text(encoding='utf-8')
    base = next(node for node in ast.parse(text).body if ast.unparse(node).startswith('_base_'))
    return len(lines_of(text)) - (base.end_lineno - base.lineno + 1)


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_at_most_20_lines(path):
    assert len(path.read_text(encoding='utf-8').splitlines()) <= 20


@pytest.mark.parametrize('name, most', BEYOND_THE_BASE.items())
def test_it_says_little_beyond_its_base(name, most):
    (path,) = [*(CONFIGS / 'examples').glob(f'{name}.py'), *(CONFIGS / 'coco').glob(f'{name}.py')]
    assert 0 < beyond_the_base(path) <= most


SWAPS = {
    'MobileNetV2': "type='MobileNetV2', out_indices=(7,), norm_cfg=dict(type='LSBN2d')), 1280",
    'CSPNeXt': "type='CSPNeXt', arch='P5', expand_ratio=0.5, deepen_factor=0.33, widen_factor=0.5, out_indices=(4,),"
    " norm_cfg=dict(type='LSBN2d')), 512",
    'ResNetV1d': "type='ResNetV1d', depth=50, norm_cfg=dict(type='LSBN2d')), 2048",
    'ResNeXt': "type='ResNeXt', depth=50, norm_cfg=dict(type='LSBN2d')), 2048",
    'SEResNet': "type='SEResNet', depth=50, norm_cfg=dict(type='LSBN2d')), 2048",
    'PyramidVisionTransformerV2': "type='PyramidVisionTransformerV2', out_indices=(3,)), 512",
}


@pytest.mark.parametrize('teacher, key', [('', 'loss_gram'), (", loss=dict(type='FeatureLoss')", 'loss_feature')])
@pytest.mark.parametrize('family', SWAPS)
def test_a_swap_of_the_backbone_takes_its_familys_taps(family, teacher, key, tmp_path):
    """Four lines, as in the example."""
    backbone, _, channels = SWAPS[family].rpartition('), ')
    base = CONFIGS / 'exlpose' / 'exlpose_td-hm_r50_1xb32-32e_exlpose-256x192.py'
    (tmp_path / 'swap.py').write_text(
        f'_base_ = [{str(base)!r}]\nmodel = dict(backbone=dict(_delete_=True, {backbone}),\n'
        f'head=dict(head=dict(in_channels={channels}), well_lit_teacher=dict(_delete_=True{teacher})))',
        encoding='utf-8',
    )
    model = build_model(Config.fromfile(tmp_path / 'swap.py').model)
    images = {name: torch.randn(1, 3, 64, 64) for name in ('low_light', 'well_lit')}
    terms = model.head.well_lit_teacher.loss(extract(model, images, model.head.taps)[1])[key]
    assert len(terms) == len(model.head.taps) >= 4 and all(term > 0 for term in terms)


@pytest.mark.parametrize(
    'name, head, backbone',
    [
        ('exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py', {}, {}),
        ('exlpose/exlpose_td-hm_r50_1xb32-32e_exlpose-256x192.py', {}, {}),
        ('exlpose/exlpose_td-hm_hrnet-w32_1xb32-32e_exlpose-256x192.py', {}, {}),
        ('exlpose/exlpose_rtmpose-m_1xb32-32e_exlpose-256x192.py', {}, {}),
        ('exlpose/exlpose-no-lsbn_td-hm_pvt-s_1xb32-32e_exlpose-256x192.py', {}, {}),
        ('lspet/exlpose_mobilenetv2_1xb32-8e_lspet-128x96.py', {}, {}),
    ],
)
def test_defaults_are_what_the_shipped_configs_say(name, head, backbone):
    config = Config.fromfile(CONFIGS / name).model
    said = config.head.well_lit_teacher
    config.head.well_lit_teacher = dict()
    teacher = build_model(config).head.well_lit_teacher
    assert teacher.taps == said.taps
    assert teacher.loss_module.loss_weight == pytest.approx(said.loss.get('loss_weight', 8e-4))


def test_of_an_unknown_family_the_taps_must_be_given():
    with pytest.raises(ValueError, match=r'no taps are known for a VGG, only for ResNet, .*taps=\['):
        default_taps(MODELS.build(dict(type='VGG', depth=11)))


def test_of_an_unknown_loss_the_weight_must_be_given():
    config = Config.fromfile(CONFIGS / 'examples' / 'another_backbone.py').model
    config.head.head.loss = dict(type='AdaptiveWingLoss')
    with pytest.raises(ValueError, match='HeatmapHead with AdaptiveWingLoss, only for CPNHead, .*loss_weight'):
        build_model(config)


def test_a_stock_preprocessor_becomes_one_of_each_lighting():
    stock = dict(type='PoseDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], bgr_to_rgb=True)
    both = default_preprocessor(stock)
    assert both['well_lit'] == stock
    assert both['low_light'] == dict(stock, mean=3 * [0.0], std=3 * [255.0])
    assert default_preprocessor(both) is both and default_preprocessor(None) is None


@pytest.mark.parametrize('name', ['rtmpose-m_1xb256', 'td-hm_hrnet-w32_1xb64'])
def test_all_of_a_stock_checkpoint_starts_the_adapted_model(name):
    (path,) = (CONFIGS / 'coco').glob(f'exlpose-adapted_{name}-10e_*.py')
    adapted = Config.fromfile(path).model
    stock = build_model(stock_config(re.search(r"'(mmpose::.*?)'", path.read_text(encoding='utf-8'))[1]).model)
    model = build_model(adapted)
    left = model.load_state_dict(stock.state_dict(), strict=False)
    assert not left.missing_keys and not left.unexpected_keys
    first = next(module for module in stock.backbone.modules() if isinstance(module, _BatchNorm))
    copies = lsbn_layers(model.backbone)[0].bns
    assert all(torch.equal(copy.weight, first.weight) for copy in copies)


class TestInTheDark:
    STOCK = 'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192.py'

    def test_keeps_what_moves_both_images_and_no_colours(self):
        _, train, *_ = in_the_dark(stock_config(self.STOCK))
        assert [step['type'] for step in train['dataset']['pipeline']] == [
            'LoadLabelledImage',
            'SimulateLowLight',
            'OnLighting',
            'GetBBoxCenterScale',
            'RandomFlip',
            'RandomHalfBody',
            'RandomBBoxTransform',
            'TopdownAffine',
            'GenerateTarget',
            'PackPairedInputs',
        ]

    def test_refuses_steps_that_it_does_not_know(self):
        config = stock_config(self.STOCK)
        config.train_dataloader.dataset.pipeline.append(dict(type='my.Warp'))
        with pytest.raises(ValueError, match=r'knows no step my\.Warp'):
            in_the_dark(config)

    def test_boxes_are_those_of_the_labels(self):
        """Those of a file were found in the light, which nobody has in the dark."""
        config = stock_config(
            'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py'
        )
        assert config.val_dataloader.dataset.bbox_file
        _, _, val, test, *_ = in_the_dark(config)
        assert [dataset.get('bbox_file') for part in (val, test) for dataset in part['dataset']['datasets']] == 8 * [
            None
        ]

    def test_leaves_the_config_as_it_is(self):
        config = stock_config(self.STOCK)
        before = config.to_dict()
        in_the_dark(config)
        assert config.to_dict() == before

    def test_the_level_is_the_users(self):
        _, train, *_ = in_the_dark(stock_config(self.STOCK), level=(1.0, 3.0))
        assert train['dataset']['pipeline'][1] == dict(type='SimulateLowLight', level=(1.0, 3.0))


def test_a_stock_model_stays_as_it_is_behind_a_denoiser():
    (path,) = (CONFIGS / 'coco').glob('denoised_*.py')
    stock = build_model(stock_config(re.search(r"'(mmpose::.*?)'", path.read_text(encoding='utf-8'))[1]).model)
    model = build_model(Config.fromfile(path).model)
    left = model.load_state_dict(stock.state_dict(), strict=False)
    assert not left.unexpected_keys and all(key.startswith('backbone.denoiser.') for key in left.missing_keys)
    learn = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learn and all(name.startswith('backbone.denoiser.') for name in learn)


def stock_config(name: str) -> Config:
    from mmengine.hub import get_config

    return get_config(name)


def test_the_teacher_of_ones_own_is_asked():
    model = build_model(Config.fromfile(CONFIGS / 'examples' / 'own_teacher.py').model)
    features = [torch.zeros(1, 2, 3, 4)], [torch.ones(1, 2, 3, 4)]
    assert type(model.head.well_lit_teacher.loss_module).__name__ == 'FeatureMatching'
    assert model.head.well_lit_teacher.loss_module(*features) == [1.0]


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_the_lines_that_the_page_counts(path):
    page = (CONFIGS.parent / 'docs' / 'extending.md').read_text(encoding='utf-8')
    assert re.search(rf'{path.stem}.py\) \| (\d+) \|', page)[1] == str(beyond_the_base(path))


def test_own_pairs_of_other_joints_say_so_everywhere():
    coco = dict(from_file='configs/_base_/datasets/coco.py')
    root, train, val, test, evaluator, _ = own_pairs('d', 'train.json', 'val.json', metainfo=coco, pair_file='p.txt')
    assert root == 'd'
    assert train['dataset'] == dict(ann_file='train.json', data_root='d', metainfo=coco, pair_file='p.txt')
    assert val == test and val['dataset']['metainfo'] == coco
    assert [(d['split'], d['lighting'], d['metainfo']) for d in val['dataset']['datasets']] == [
        ('LL-A', 'low_light', coco),
        ('WL', 'well_lit', coco),
    ]
    assert set(evaluator['ann_files']) == {'_delete_', 'LL-A', 'WL'}


def test_what_a_stock_config_takes_protects_it_as_the_runtime_does():
    ours, theirs = (
        {name: {key: value for key, value in hook.items() if key != '_scope_'} for name, hook in hooks.items()}
        for hooks in (
            Config.fromfile(CONFIGS / '_base_' / 'runtime.py').default_hooks,
            Config.fromfile(CONFIGS / 'examples' / 'stock_mmpose.py').default_hooks,
        )
    )
    ours['checkpoint'].update(save_best='LL-A/AP', rule='greater')
    assert theirs == ours


def test_the_page_on_adapting_shows_the_shipped_config(tmp_path):
    text = (CONFIGS.parent / 'docs' / 'adapting.md').read_text(encoding='utf-8')
    shown = re.search(r'```python\n(.*?)```', text, re.DOTALL)[1].replace("'../_base_", f"'{CONFIGS}/_base_")
    (tmp_path / 'shown.py').write_text(shown, encoding='utf-8')
    shipped = Config.fromfile(next(CONFIGS.glob('coco/*rtmpose-m*')))
    found = Config.fromfile(tmp_path / 'shown.py')
    assert found.pop('load_from') == 'rtmpose-m.pth' and shipped.pop('load_from').startswith('https')
    shipped.pop('zoo')
    assert found.to_dict() == shipped.to_dict()
