"""The estimator and its preprocessor: which image runs under which lighting."""

import copy

import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.model import ExponentialMovingAverage
from mmengine.structures import InstanceData, PixelData
from mmpose.registry import MODELS
from mmpose.structures import MultilevelPixelData, PoseDataSample
from torch import nn

from exlpose_mm import LIGHTINGS, CPNHead, lighting
from exlpose_mm.datasets.collate import stack_views
from exlpose_mm.lighting import lsbn_layers
from exlpose_mm.models.passes import extract, extract_each
from exlpose_mm.views import rows_by_lighting

CODEC = dict(type='SoftmaxHeatmap', input_size=(64, 64), heatmap_size=(16, 16), sigma=1.5)
PREPROCESSOR = dict(
    type='LightingDataPreprocessor',
    low_light=dict(type='PoseDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3),
    well_lit=dict(type='PoseDataPreprocessor', mean=[100.0] * 3, std=[50.0] * 3),
)
TAPS = ['conv1', 'layer1', 'layer4']


def model_cfg(**kwargs):
    cfg = dict(
        type='LightingPoseEstimator',
        data_preprocessor=PREPROCESSOR,
        backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type='LSBN2d')),
        head=dict(
            type='DualTeacherHead',
            head=dict(
                type='HeatmapHead',
                in_channels=64,
                out_channels=14,
                deconv_out_channels=(8, 8, 8),
                loss=dict(type='HeatmapCrossEntropyLoss'),
                decoder=CODEC,
            ),
            well_lit_teacher=dict(taps=TAPS, loss=dict(type='GramLoss', loss_weight=1.0)),
        ),
        test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False),
    )
    return {**cfg, **kwargs}


def build(**kwargs):
    torch.manual_seed(0)
    model = MODELS.build(model_cfg(**kwargs))
    for i, bn in enumerate(bn for layer in lsbn_layers(model) for bn in layer.bns):
        nn.init.uniform_(bn.weight, 0.5 + i % 2, 1 + i % 2)
    return model


def sample(lighting=None):
    data = PoseDataSample(
        metainfo=dict(
            input_size=(64, 64),
            input_center=torch.tensor([32.0, 32.0]).numpy(),
            input_scale=torch.tensor([64.0, 64.0]).numpy(),
            flip_indices=[1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13],
        )
    )
    if lighting:
        data.set_metainfo(dict(lighting=lighting))
    data.gt_instances = InstanceData(bboxes=torch.zeros(1, 4).numpy(), bbox_scores=torch.ones(1).numpy())
    data.gt_instance_labels = InstanceData(keypoint_weights=torch.ones(1, 14))
    heatmaps = torch.zeros(14, 16, 16)
    heatmaps[:, 8, 6] = 1
    data.gt_fields = PixelData(heatmaps=heatmaps)
    return data


def pairs(batch=2):
    torch.manual_seed(1)
    return dict(
        inputs={name: [torch.randint(0, 255, (3, 64, 64)).float() for _ in range(batch)] for name in LIGHTINGS},
        data_samples=[sample() for _ in range(batch)],
    )


class TestPreprocessor:
    def test_each_lighting_has_its_own_statistics(self):
        data = pairs()
        out = MODELS.build(PREPROCESSOR)(data, True)['inputs']
        torch.testing.assert_close(out['low_light'][1], data['inputs']['low_light'][1] / 255)
        torch.testing.assert_close(out['well_lit'][0], (data['inputs']['well_lit'][0] - 100) / 50)

    @pytest.mark.parametrize('merge', [LIGHTINGS, ('low_light',), ('well_lit',)])
    def test_merge_makes_an_ordinary_batch(self, merge):
        data = pairs()
        apart = MODELS.build(PREPROCESSOR)(data, True)['inputs']
        out = MODELS.build(dict(PREPROCESSOR, merge=merge))(data, True)
        torch.testing.assert_close(out['inputs'], torch.cat([apart[name] for name in merge]))
        assert len(out['data_samples']) == 2 * len(merge)

    def test_single_images_keep_their_order(self):
        images = [torch.full((3, 8, 8), value) for value in (255.0, 100.0, 51.0)]
        samples = [sample(lit) for lit in ('low_light', 'well_lit', 'low_light')]
        out = MODELS.build(PREPROCESSOR)(dict(inputs=images, data_samples=samples))['inputs']
        torch.testing.assert_close(out.mean((1, 2, 3)), torch.tensor([1.0, 0.0, 0.2]))

    @pytest.mark.parametrize('sizes', [(8, 8), (8, 6)])
    @pytest.mark.parametrize('key', ['bgr_to_rgb', 'rgb_to_bgr', None])
    def test_channels_are_reordered_and_smaller_images_padded(self, key, sizes):
        """As MMPose's preprocessor does one by one."""
        cfg = dict(
            type='PoseDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], **({key: True} if key else {})
        )
        images = [torch.randint(0, 255, (3, height, 8), dtype=torch.uint8) for height in sizes]
        data = dict(inputs=dict(low_light=images), data_samples=[sample() for _ in images])
        out = MODELS.build(dict(type='LightingDataPreprocessor', low_light=cfg, well_lit=cfg))(data)
        for got, image in zip(out['inputs']['low_light'], images):
            order = [2, 1, 0] if key else [0, 1, 2]
            want = torch.stack([(image[channel].float() - (1 + i)) / (4 + i) for i, channel in enumerate(order)])
            assert torch.equal(got[:, : image.shape[1]], want) and (got[:, image.shape[1] :] == 0).all()

    @pytest.mark.parametrize('lit', LIGHTINGS)
    def test_what_would_move_the_labels_once_for_each_image_is_refused(self, lit):
        augment = [dict(type='BatchSyncRandomResize', random_size_range=(64, 96), interval=1)]
        with pytest.raises(ValueError, match='batch_augments would change the labels of a pair'):
            MODELS.build({**PREPROCESSOR, lit: dict(PREPROCESSOR[lit], batch_augments=augment)})

    def test_merge_takes_the_images_that_are_there(self):
        """Each with its own sample."""
        data = pairs(3)
        data['inputs']['low_light'][1] = data['inputs']['well_lit'][0] = data['inputs']['well_lit'][2] = None
        for i, one in enumerate(data['data_samples']):
            one.set_metainfo(dict(id=i))
        preprocessor = MODELS.build(dict(PREPROCESSOR, merge=LIGHTINGS))
        out = preprocessor(data, True)
        assert [one.id for one in out['data_samples']] == [0, 2, 1] and len(out['inputs']) == 3
        torch.testing.assert_close(out['inputs'][2], (data['inputs']['well_lit'][1] - 100) / 50)
        del data['inputs']['well_lit']
        assert [one.id for one in preprocessor(data, True)['data_samples']] == [0, 2]

    def test_merge_finds_no_image(self):
        data = pairs()
        del data['inputs']['low_light']
        with pytest.raises(ValueError, match='no sample of the batch has an image of low_light, as `merge`'):
            MODELS.build(dict(PREPROCESSOR, merge=('low_light',)))(data, True)

    @pytest.mark.parametrize('merge', [(), LIGHTINGS, ('well_lit',)])
    @pytest.mark.parametrize('missing', [[], [2]])
    @pytest.mark.parametrize('sizes', [(8, 8, 8), (8, 6, 8)])
    def test_stacked_views_are_the_same(self, sizes, missing, merge):
        packed = [
            dict(
                inputs={name: torch.randint(0, 255, (3, size, 8), dtype=torch.uint8) for name in LIGHTINGS},
                data_samples=sample(),
            )
            for size in sizes
        ]
        for i in missing:
            packed[i]['inputs']['low_light'] = None
        preprocessor = MODELS.build(dict(PREPROCESSOR, merge=merge))
        ours, theirs = (preprocessor(collate(packed), True) for collate in (stack_views, pseudo_collate))
        assert len(ours['data_samples']) == len(theirs['data_samples'])
        torch.testing.assert_close(ours['inputs'], theirs['inputs'], rtol=0, atol=0)

    @pytest.mark.parametrize('lightings', [('well_lit',) * 3, ('low_light', 'well_lit', 'low_light')])
    def test_stacked_single_images_are_the_same(self, lightings):
        packed = [dict(inputs=torch.rand(3, 8, 8), data_samples=sample(name)) for name in lightings]
        preprocessor = MODELS.build(PREPROCESSOR)
        ours, theirs = (preprocessor(collate(packed))['inputs'] for collate in (stack_views, pseudo_collate))
        assert torch.equal(ours, theirs)

    def test_unknown_lighting_in_merge(self):
        with pytest.raises(ValueError, match="'dark'"):
            MODELS.build(dict(PREPROCESSOR, merge=('dark',)))


class TestTraining:
    def test_losses_of_both_lightings_and_of_the_teacher(self):
        model = build()
        losses = model(**model.data_preprocessor(pairs(), True), mode='loss')
        assert {'low_light.loss_kpt', 'well_lit.loss_kpt', 'loss_gram'} <= set(losses)
        assert len(losses['loss_gram']) == len(TAPS)
        assert [losses[f'gram.{name}'] for name in TAPS] == losses['loss_gram'], 'each layer is logged'
        total, _ = model.parse_losses(losses)
        parts = sum(losses['loss_gram']) + losses['low_light.loss_kpt'] + losses['well_lit.loss_kpt']
        torch.testing.assert_close(total, parts)

    def test_every_parameter_learns(self):
        model = build()
        losses = model(**model.data_preprocessor(pairs(), True), mode='loss')
        model.parse_losses(losses)[0].backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []

    def test_the_gram_loss_trains_the_low_light_side_only(self):
        model = build()
        losses = model(**model.data_preprocessor(pairs(), True), mode='loss')
        sum(losses['loss_gram']).backward()
        layer = model.backbone.layer1[0].bn1
        assert layer.bns[0].weight.grad.abs().sum() > 0
        assert layer.bns[1].weight.grad is None

    def test_features_in_place_of_style(self):
        teacher = dict(taps=TAPS, loss=dict(type='FeatureLoss', loss_weight=2.0))
        model = build(head={**model_cfg()['head'], 'well_lit_teacher': teacher})
        data = model.data_preprocessor(pairs(), True)
        losses = model(**data, mode='loss')
        assert 'loss_gram' not in losses
        assert [losses[f'feature.{name}'] for name in TAPS] == losses['loss_feature']
        _, taps = extract(copy.deepcopy(model), data['inputs'], TAPS)
        low_light, well_lit = (taps[name]['layer4'] for name in LIGHTINGS)
        want = 2 / 3 * (low_light - well_lit).square().sum() / well_lit.square().sum()
        torch.testing.assert_close(losses['loss_feature'][2], want)

    def test_without_a_teacher(self):
        model = build(head={**model_cfg()['head'], 'well_lit_teacher': None})
        losses = model(**model.data_preprocessor(pairs(), True), mode='loss')
        assert 'loss_gram' not in losses and 'low_light.loss_kpt' in losses

    def test_a_bare_head_cannot_learn(self):
        model = build(head=model_cfg()['head']['head'])
        with pytest.raises(TypeError, match='HeatmapHead cannot learn.*DualTeacherHead'):
            model(**model.data_preprocessor(pairs(), True), mode='loss')

    def test_without_lsbn_both_lightings_are_one_batch(self):
        model = build(backbone={**model_cfg()['backbone'], 'norm_cfg': dict(type='BN')}).train()
        data = model.data_preprocessor(pairs(), True)
        reference = copy.deepcopy(model)
        losses = model(**data, mode='loss')

        low_light, well_lit = data['inputs']['low_light'], data['inputs']['well_lit']
        x = reference.backbone.conv1(torch.cat([low_light, well_lit]))
        grams = [(f.flatten(2) @ f.flatten(2).transpose(1, 2)) / f[0, 0].numel() for f in (x[:2], x[2:])]
        torch.testing.assert_close(losses['loss_gram'][0], (grams[0] - grams[1]).square().mean() / len(TAPS))

        feats = reference.extract_feat(torch.cat([low_light, well_lit]))[-1]
        for name, own in zip(LIGHTINGS, (feats[:2], feats[2:])):
            want = reference.head.head.loss((own,), data['data_samples'])['loss_kpt']
            torch.testing.assert_close(losses[f'{name}.loss_kpt'], want)
        want, got = reference.state_dict(), model.state_dict()
        for key in (key for key in got if key.startswith('backbone.bn1')):
            torch.testing.assert_close(got[key], want[key])
        assert got['backbone.bn1.num_batches_tracked'] == 1

    @pytest.mark.parametrize('separate', [True, False])
    def test_plain_norms_see_one_batch_of_a_pass(self, separate):
        """Two passes leave the statistics of the well-lit images, which came last, with more weight; one the mean."""
        backbone = {**model_cfg()['backbone'], 'norm_cfg': dict(type='BN')}
        model = build(backbone=backbone, separate_passes=separate).train()
        data = model.data_preprocessor(pairs(), True)
        reference = copy.deepcopy(model.backbone)
        losses = model(**data, mode='loss')
        batches = [data['inputs'][name] for name in LIGHTINGS]
        for batch in batches if separate else [torch.cat(batches)]:
            reference(batch)
        for key, want in reference.state_dict().items():
            torch.testing.assert_close(model.backbone.state_dict()[key], want)
        assert model.backbone.bn1.num_batches_tracked == 1 + separate
        assert len(losses['loss_gram']) == len(TAPS)

    def test_bfloat16_autocast(self):
        # MMPose's accuracy cannot convert bfloat16 maps to numpy.
        model = build(train_cfg=dict(compute_acc=False))
        data = model.data_preprocessor(pairs(), True)
        want = model.parse_losses(model(**data, mode='loss'))[0]
        with torch.autocast('cpu', torch.bfloat16):
            losses = model(**data, mode='loss')
        assert all(loss.dtype == torch.float32 for loss in losses['loss_gram'])
        torch.testing.assert_close(model.parse_losses(losses)[0].float(), want, rtol=0.1, atol=0.1)

    def test_a_layer_that_the_backbone_lacks_is_refused_at_build_time(self):
        head = model_cfg()['head']
        head['well_lit_teacher'] = dict(taps=['layer9'], loss=dict(type='GramLoss'))
        with pytest.raises(ValueError, match='layer9'):
            build(head=head)

    def test_a_backbone_that_ignores_norm_cfg_is_refused_at_build_time(self):
        backbone = dict(type='HourglassNet', norm_cfg=dict(type='LSBN2d'))
        with pytest.raises(ValueError, match='HourglassNet'):
            build(backbone=backbone)

    def test_recomputed_layers_are_refused_at_build_time(self):
        backbone = {**model_cfg()['backbone'], 'with_cp': True}
        with pytest.raises(ValueError, match=r'ResNet recomputes \d+ layers \(.*layer1.*with_cp=False'):
            build(backbone=backbone)
        build(backbone={**backbone, 'norm_cfg': dict(type='BN')})

    def test_norms_that_never_learn_are_refused_at_build_time(self):
        backbone = {**model_cfg()['backbone'], 'norm_eval': True}
        with pytest.raises(
            ValueError, match=r'ResNet keeps the statistics of \d+ of its LSBN2d layers .*norm_eval=False'
        ):
            build(backbone=backbone)
        build(backbone={**backbone, 'norm_cfg': dict(type='BN')})

    def test_images_of_unnamed_lightings_are_refused_in_training(self):
        model = build()
        with pytest.raises(TypeError, match='named by its lighting: .*PackPairedInputs'):
            model.loss(torch.rand(2, 3, 64, 64), [sample(name) for name in LIGHTINGS])

    def test_frozen_stages_keep_weights_and_statistics_of_both_lightings(self):
        model = build(backbone={**model_cfg()['backbone'], 'frozen_stages': 1}).train()
        before = copy.deepcopy(model.backbone.state_dict())
        losses = model(**model.data_preprocessor(pairs(), True), mode='loss')
        model.parse_losses(losses)[0].backward()
        for name, value in model.backbone.state_dict().items():
            frozen = name.startswith(('conv1', 'bn1', 'layer1'))
            if frozen or 'running_' in name:
                assert torch.equal(value, before[name]) == frozen, name
        assert all(
            (p.grad is None) == name.startswith(('conv1', 'bn1', 'layer1'))
            for name, p in model.backbone.named_parameters()
        )

    def test_an_average_of_the_weights_sees_both_lightings(self):
        model = build()
        average = ExponentialMovingAverage(model, momentum=0.5)
        layer = model.backbone.bn1
        old = [bn.weight.clone() for bn in layer.bns]
        for update in range(2):  # the first is a copy
            average.update_parameters(model)
            with torch.no_grad():
                for bn in layer.bns:
                    bn.weight.add_(1 - update)
        for bn, weight in zip(average.module.backbone.bn1.bns, old):
            torch.testing.assert_close(bn.weight, weight + 0.5)
        with torch.no_grad():
            poses = average.module.eval().test_step(
                dict(inputs=[torch.rand(3, 64, 64)] * 2, data_samples=[sample(name) for name in LIGHTINGS])
            )
        assert all(len(pose.pred_instances.keypoints) == 1 for pose in poses)

    def test_a_tapped_layer_that_never_runs(self):
        head = model_cfg()['head']
        head['well_lit_teacher'] = dict(taps=['layer1', 'layer4.1.conv1'], loss=dict(type='GramLoss'))
        model = build(head=head)
        model.backbone.layer4[1].forward = lambda x: x
        with pytest.raises(ValueError, match=r"did not run the tapped layers \['layer4.1.conv1'\]"):
            model(**model.data_preprocessor(pairs(), True), mode='loss')

    def test_two_lightings_of_another_size(self):
        model, data = build(), pairs()
        data['inputs']['well_lit'] = [image[:, :32] for image in data['inputs']['well_lit']]
        inputs = model.data_preprocessor(data, True)['inputs']
        taps = extract_each(model, inputs, model.head.taps)[1]
        with pytest.raises(ValueError, match=r'conv1 has .*\(2, 8, 32, 32\) in low light, but \(2, 8, 16, 32\)'):
            model.head.well_lit_teacher.loss(taps)

    def test_a_teacher_without_layers(self):
        head = model_cfg()['head']
        head['well_lit_teacher'] = dict(taps=[], loss=dict(type='GramLoss'))
        with pytest.raises(ValueError, match='at least one'):
            build(head=head)


def head_with_lsbn(**kwargs):
    """CPN's small, whose norms are lighting-specific, without teachers."""
    return dict(
        type='DualTeacherHead',
        head={
            **dict(
                type='CPNHead',
                in_channels=(8, 16, 32, 64),
                channels=8,
                heatmap_size=(16, 16),
                norm_cfg=dict(type='LSBN2d'),
            ),
            **kwargs,
        },
    )


ALL_STAGES = {**model_cfg()['backbone'], 'out_indices': (0, 1, 2, 3)}


def cpn_pairs():
    data = pairs()
    for one in data['data_samples']:
        one.gt_fields = MultilevelPixelData(heatmaps=[torch.rand(14, 16, 16) for _ in range(5)])
    return data


@MODELS.register_module()
class StubbornHead(CPNHead):
    """Takes a ``norm_cfg`` and does not use it."""

    def __init__(self, norm_cfg, **kwargs):
        super().__init__(**kwargs)


class TestLSBNInTheHead:
    def test_each_lighting_trains_its_own_norms(self):
        model = build(backbone=ALL_STAGES, head=head_with_lsbn()).train()
        assert len(lsbn_layers(model.head)) > 20
        data = model.data_preprocessor(cpn_pairs(), True)
        reference, losses = copy.deepcopy(model), model(**data, mode='loss')
        for i, name in enumerate(LIGHTINGS):
            with lighting(reference, name):
                feats = reference.extract_feat(data['inputs'][name])
                want = reference.head.head.loss(feats, data['data_samples'])
            for key in ('loss_global', 'loss_refine'):
                torch.testing.assert_close(losses[f'{name}.{key}'], want[key])
            model.zero_grad()
            sum(losses[f'{name}.{key}'] for key in ('loss_global', 'loss_refine')).backward(retain_graph=True)
            for layer in lsbn_layers(model.head):
                assert [bool(bn.weight.grad is not None) for bn in layer.bns] == [i == 0, i == 1]
                assert layer.bns[i].num_batches_tracked == 1

    def test_a_backbone_without_lsbn_still_sees_one_batch(self):
        model = build(backbone={**ALL_STAGES, 'norm_cfg': dict(type='BN')}, head=head_with_lsbn()).train()
        losses = model(**model.data_preprocessor(cpn_pairs(), True), mode='loss')
        assert {'low_light.loss_refine', 'well_lit.loss_refine'} < set(losses)
        assert model.backbone.bn1.num_batches_tracked == 1

    def test_both_lightings_predict(self):
        codec = dict(type='CPNHeatmap', input_size=(64, 64), heatmap_size=(16, 16))
        model = build(backbone=ALL_STAGES, head=head_with_lsbn(decoder=codec)).eval()
        image = torch.rand(3, 64, 64) * 255
        poses = model.test_step(dict(inputs=[image] * 2, data_samples=[sample(name) for name in LIGHTINGS]))
        scores = [pose.pred_instances.keypoint_scores for pose in poses]
        assert abs(scores[0] / scores[1] - 1).max() > 1e-3

    def test_one_that_ignores_norm_cfg_is_refused_at_build_time(self):
        with pytest.raises(ValueError, match='StubbornHead has no batch norm that norm_cfg=.* could replace'):
            build(backbone=ALL_STAGES, head=head_with_lsbn(type='StubbornHead'))


class TestPrediction:
    def test_a_mixed_batch_equals_single_images(self):
        model = build().eval()
        images = [torch.rand(3, 64, 64) * 255 for _ in range(4)]
        lits = ['low_light', 'well_lit', 'well_lit', 'low_light']
        with torch.no_grad():
            mixed = model.test_step(dict(inputs=images, data_samples=[sample(lit) for lit in lits]))
            for image, lit, together in zip(images, lits, mixed):
                alone = model.test_step(dict(inputs=[image], data_samples=[sample(lit)]))[0]
                for key in ('keypoints', 'keypoint_scores'):
                    torch.testing.assert_close(
                        torch.tensor(together.pred_instances[key]), torch.tensor(alone.pred_instances[key])
                    )

    def test_the_lighting_matters(self):
        model = build().eval()
        image = torch.rand(3, 64, 64) * 255
        scores = [
            model.test_step(dict(inputs=[image], data_samples=[sample(lit)]))[0].pred_instances.keypoint_scores
            for lit in LIGHTINGS
        ]
        assert abs(scores[0] / scores[1] - 1).max() > 1e-3

    def test_tensor_mode_is_low_light(self):
        model = build().eval()
        image = torch.rand(1, 3, 64, 64)
        with torch.no_grad(), lighting(model, 'low_light'):
            want = model.head(model.extract_feat(image))
        with torch.no_grad():
            torch.testing.assert_close(model(image, None, mode='tensor'), want)

    def test_a_sample_without_lighting(self):
        model = build().eval()
        with pytest.raises(KeyError, match='TagLighting'):
            model.test_step(dict(inputs=[torch.rand(3, 64, 64)], data_samples=[sample()]))

    def test_grouping_refuses_unknown_names(self):
        with pytest.raises(ValueError, match="'dusk'"):
            rows_by_lighting([sample('dusk')])
