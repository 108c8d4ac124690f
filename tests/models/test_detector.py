"""Detectors under two lightings: passes, teacher, predictions, padding, and what is refused."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from exlpose_mm.lighting import LIGHTINGS, lighting, lsbn_layers, tap
from exlpose_mm.models.losses import GramLoss

STATISTICS = dict(
    type='LightingDetDataPreprocessor',
    low_light=dict(type='DetDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3, pad_size_divisor=32),
    well_lit=dict(type='DetDataPreprocessor', mean=[100.0, 110.0, 120.0], std=[50.0] * 3, pad_size_divisor=32),
)
BACKBONE = dict(
    type='ResNet', depth=18, stem_channels=8, base_channels=8, norm_cfg=dict(type='LSBN2d'), norm_eval=False
)
ONE_STAGE = dict(
    type='LightingDetector',
    detector='RTMDet',
    data_preprocessor=STATISTICS,
    backbone=BACKBONE,
    neck=dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=8, start_level=1, num_outs=3),
    bbox_head=dict(
        type='RTMDetSepBNHead',
        num_classes=1,
        in_channels=8,
        feat_channels=8,
        with_objectness=False,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        norm_cfg=dict(type='BN'),
    ),
    train_cfg=dict(assigner=dict(type='DynamicSoftLabelAssigner', topk=5), allowed_border=-1, pos_weight=-1),
    test_cfg=dict(nms_pre=100, min_bbox_size=0, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.6), max_per_img=5),
)


def two_stages() -> dict:
    model = get_config('mmdet::_base_/models/faster-rcnn_r50_fpn.py').model.to_dict()
    model.update(type='LightingDetector', detector='FasterRCNN', data_preprocessor=STATISTICS, backbone=BACKBONE)
    model['neck'].update(in_channels=[8, 16, 32, 64], out_channels=8)
    model['rpn_head'].update(in_channels=8, feat_channels=8)
    model['roi_head']['bbox_roi_extractor'].update(out_channels=8)
    model['roi_head']['bbox_head'].update(in_channels=8, fc_out_channels=16, num_classes=1)
    return model


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def build(cfg: dict, **kwargs):
    torch.manual_seed(0)
    cfg = deepcopy({**cfg, **kwargs})
    return MODELS.build(ConfigDict(cfg))


def sample(**meta) -> DetDataSample:
    boxes = torch.tensor([[4.0, 6.0, 40.0, 60.0], [30.0, 8.0, 60.0, 50.0]])
    people = InstanceData(bboxes=boxes, labels=torch.zeros(2, dtype=torch.long))
    meta = dict(dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0), img_id=0), **meta)
    return DetDataSample(gt_instances=people, ignored_instances=people[:0], metainfo=meta)


def pairs(number: int = 2) -> dict:
    rng = torch.Generator().manual_seed(1)
    images = {
        name: list(torch.rand(number, 3, 64, 64, generator=rng) * high) for name, high in zip(LIGHTINGS, (3, 255))
    }
    return dict(inputs=images, data_samples=[sample(img_id=i) for i in range(number)])


def scalars(losses: dict) -> dict:
    return {
        key: float(sum(part.sum() for part in value) if isinstance(value, list) else value)
        for key, value in losses.items()
    }


@pytest.fixture(params=['one stage', 'two stages'])
def cfg(request) -> dict:
    return ONE_STAGE if request.param == 'one stage' else two_stages()


def test_each_lighting_has_the_detectors_own_loss(cfg):
    """Against the stock detector with the same weights, called under each lighting."""
    model = build(cfg)
    batch = model.data_preprocessor(pairs(), training=True)
    torch.manual_seed(3)  # two stages draw their samples
    losses = scalars(model.loss(**as_arguments(batch)))
    kind = type(model).__mro__[2]
    expected = {}
    torch.manual_seed(3)
    for name in LIGHTINGS:
        with lighting(model, name):
            own = kind.loss(model, batch['inputs'][name], batch['data_samples'])
        expected.update({f'{name}.{key}': value for key, value in own.items()})
    assert losses == pytest.approx(scalars(expected), rel=1e-5)
    assert {key.partition('.')[0] for key in losses} == set(LIGHTINGS)


def as_arguments(batch: dict) -> dict:
    return dict(batch_inputs=batch['inputs'], batch_data_samples=batch['data_samples'])


def test_without_lsbn_both_lightings_are_one_batch():
    backbone = dict(BACKBONE, norm_cfg=dict(type='BN'))
    model = build(ONE_STAGE, backbone=backbone)
    batch = model.data_preprocessor(pairs(), training=True)
    sizes = []
    model.backbone.conv1.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    model.loss(**as_arguments(batch))
    assert sizes == [4]
    sizes.clear()
    own = build(ONE_STAGE)
    own.backbone.conv1.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    own.loss(**as_arguments(batch))
    assert sizes == [2, 2]


def test_the_teacher_compares_the_taps():
    weight = 0.5
    teacher = dict(taps=['conv1', 'layer2'], loss=dict(type='GramLoss', loss_weight=weight))
    model = build(ONE_STAGE, well_lit_teacher=teacher)
    batch = model.data_preprocessor(pairs(), training=True)
    losses = model.loss(**as_arguments(batch))
    features = {}
    for name in LIGHTINGS:
        with lighting(model, name), tap(model.backbone, teacher['taps']) as features[name]:
            model.backbone(batch['inputs'][name])
    expected = GramLoss(weight)(*([features[name][layer] for layer in teacher['taps']] for name in LIGHTINGS))
    assert float(sum(losses['loss_gram'])) == pytest.approx(float(sum(expected)), rel=1e-4)
    assert losses['gram.layer2'] == pytest.approx(float(expected[1]), rel=1e-4)


def test_defaults_of_the_teacher_are_those_of_the_family(cfg):
    model = build(cfg, well_lit_teacher=dict())
    assert model.well_lit_teacher.taps == ['conv1', 'layer1', 'layer2', 'layer3', 'layer4']
    share = 200 if cfg is ONE_STAGE else 300
    assert model.well_lit_teacher.loss_module.loss_weight == pytest.approx(8e-4 / share)


def test_a_mixed_batch_is_predicted_as_each_image_under_its_lighting(cfg):
    model = build(cfg).eval()
    for layer in lsbn_layers(model):  # the two conditions differ
        torch.nn.init.constant_(layer.bns[1].weight, 2.0)
    images = torch.rand(4, 3, 64, 64) * 200
    names = ['low_light', 'well_lit', 'well_lit', 'low_light']

    def predict(indices, names):
        samples = [sample(img_id=i, lighting=name) for i, name in zip(indices, names)]
        found = model.test_step(dict(inputs=[images[i] for i in indices], data_samples=samples))
        return [s.pred_instances.bboxes for s in found]

    mixed = predict(range(4), names)
    for i, name in enumerate(names):
        torch.testing.assert_close(mixed[i], predict([i], [name])[0], atol=1e-3, rtol=1e-4)
    other = predict([0], ['well_lit'])[0]
    assert other.shape != mixed[0].shape or not torch.allclose(other, mixed[0], atol=1e-2)


def test_an_image_without_lighting_is_refused():
    model = build(ONE_STAGE).eval()
    with pytest.raises(KeyError, match='carries no "lighting"'):
        model.test_step(dict(inputs=[torch.zeros(3, 64, 64)], data_samples=[sample()]))


def test_a_stock_checkpoint_loads_into_both_conditions():
    plain = dict(ONE_STAGE, type='RTMDet', backbone=dict(BACKBONE, norm_cfg=dict(type='BN')))
    del plain['detector']
    stock, model = build(plain), build(ONE_STAGE)
    torch.nn.init.constant_(stock.backbone.bn1.weight, 3.0)
    model.load_state_dict(stock.state_dict(), strict=True)
    assert all((bn.weight == 3).all() for bn in model.backbone.bn1.bns)


def test_tensor_mode_is_low_light():
    model = build(ONE_STAGE).eval()
    image = torch.rand(1, 3, 64, 64)
    with lighting(model, 'low_light'):
        expected = model.bbox_head(model.neck(model.backbone(image)))
    torch.testing.assert_close(model(image)[0][0], expected[0][0])


# --- Padding -----------------------------------------------------------------------------


def test_both_lightings_are_padded_alike_and_normalised_each_its_way():
    preprocessor = MODELS.build(deepcopy(STATISTICS))
    shapes = [(40, 64), (50, 33)]
    low, well = ([torch.full((3, *shape), value) for shape in shapes] for value in (51.0, 200.0))
    samples = [sample(img_shape=shape) for shape in shapes]
    batch = preprocessor(dict(inputs=dict(low_light=low, well_lit=well), data_samples=samples), training=True)
    for name, expected in (('low_light', [0.2] * 3), ('well_lit', [2.0, 1.8, 1.6])):
        images = batch['inputs'][name]
        assert images.shape == (2, 3, 64, 64)
        for image, (height, width) in zip(images, shapes):
            assert image[:, 0, 0].tolist() == pytest.approx(expected)
            assert image[:, :height, :width].std(dim=(1, 2)).max() == 0
            assert not image[:, height:].any() and not image[:, :, width:].any()
    assert [s.pad_shape for s in batch['data_samples']] == [(64, 64), (64, 64)]
    assert {s.batch_input_shape for s in batch['data_samples']} == {(64, 64)}


def test_a_mixed_batch_of_sizes_is_padded_to_the_largest():
    preprocessor = MODELS.build(deepcopy(STATISTICS))
    samples = [sample(img_shape=(32, 96), lighting='well_lit'), sample(img_shape=(64, 40), lighting='low_light')]
    inputs = [torch.rand(3, *s.img_shape) for s in samples]
    batch = preprocessor(dict(inputs=inputs, data_samples=samples))
    assert batch['inputs'].shape == (2, 3, 64, 96)
    torch.testing.assert_close(batch['inputs'][1, :, :64, :40], inputs[1] / 255)


def test_a_merged_batch_has_every_image_and_its_boxes():
    preprocessor = MODELS.build(dict(deepcopy(STATISTICS), merge=LIGHTINGS))
    batch = preprocessor(pairs(), training=True)
    assert batch['inputs'].shape == (4, 3, 64, 64)
    assert [s.img_id for s in batch['data_samples']] == [0, 1, 0, 1]
    assert all(isinstance(s.gt_instances.bboxes, torch.Tensor) for s in batch['data_samples'])


# --- What is refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(detector='YOLOv99'), "no detector 'YOLOv99'"),
        (dict(detector='ResNet'), "no detector 'ResNet'"),
        (dict(backbone=dict(BACKBONE, norm_eval=True)), 'set norm_eval=False and frozen_stages=-1'),
        (dict(backbone=dict(BACKBONE, frozen_stages=1)), 'keeps the statistics of .* of its LSBN2d layers'),
        (dict(backbone=dict(BACKBONE, with_cp=True)), 'set with_cp=False'),
        (dict(well_lit_teacher=dict(taps=['layer9'])), r"ResNet has no layer \['layer9'\]"),
        (dict(well_lit_teacher=dict(taps=[])), 'at least one backbone layer'),
    ],
)
def test_what_cannot_hold_a_lighting_or_a_teacher_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(ONE_STAGE, **change)


def test_a_backbone_of_layer_norms_is_refused():
    backbone = dict(type='PyramidVisionTransformer', norm_cfg=dict(type='LSBN2d'), num_layers=[1, 1, 1, 1])
    neck = dict(ONE_STAGE['neck'], in_channels=[64, 128, 320, 512])
    with pytest.raises(ValueError, match='takes layer norms'):
        build(ONE_STAGE, backbone=backbone, neck=neck)


def test_a_head_of_which_no_weight_is_known_is_named():
    head = dict(deepcopy(ONE_STAGE['bbox_head']), type='RTMDetHead')
    with pytest.raises(ValueError, match='no weight of the style loss is known for a RTMDetHead'):
        build(ONE_STAGE, bbox_head=head, well_lit_teacher=dict())


@pytest.mark.parametrize('unknown', [dict(batch_augments=[dict(type='X')]), dict(pad_mask=True)])
def test_what_changes_one_image_of_a_pair_is_refused(unknown):
    cfg = deepcopy(STATISTICS)
    cfg['low_light'].update(unknown)
    with pytest.raises(ValueError, match=f'leave .*{[*unknown][0]}.* out of the preprocessor'):
        MODELS.build(cfg)


def test_two_divisors_are_refused():
    cfg = deepcopy(STATISTICS)
    cfg['low_light'].update(pad_size_divisor=16)
    with pytest.raises(ValueError, match=r'pad_size_divisor is \[16, 32\]'):
        MODELS.build(cfg)


def test_a_stock_preprocessor_becomes_one_of_each_lighting():
    stock = dict(type='DetDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], pad_size_divisor=32)
    model = build(ONE_STAGE, data_preprocessor=stock)
    low_light, well_lit = (model.data_preprocessor.branches[name] for name in LIGHTINGS)
    np.testing.assert_array_equal(well_lit.mean.flatten(), stock['mean'])
    np.testing.assert_array_equal(low_light.std.flatten(), 3 * [255])
