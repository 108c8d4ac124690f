"""Bottom-up and single-stage estimators under two lightings, their teachers, and tests on several scales."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData, PixelData
from mmpose.codecs import SPR
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from test_estimators import PREPROCESSOR
from torch import nn

from exlpose_mm import LIGHTINGS, AEHeatmap, MultiScaleDEKRHead, lighting
from exlpose_mm.engine.hooks.momentum_teacher import MomentumTeacherHook
from exlpose_mm.joints import METAINFO
from exlpose_mm.lighting import lsbn_layers
from exlpose_mm.models.dense_distillation import DenseDistillation, dense_output_of
from exlpose_mm.models.distillation import Distillation
from exlpose_mm.models.heads.ae import _around_centre

SIZE = (64, 64)
SPR_CODEC = dict(
    type='SPR',
    input_size=SIZE,
    heatmap_size=(16, 16),
    sigma=(2, 1),
    generate_keypoint_heatmaps=True,
    minimal_diagonal_length=2,
)
AE_CODEC = dict(type='AEHeatmap', input_size=SIZE, heatmap_size=(16, 16), sigma=1, decode_keypoint_order=[*range(14)])
FLIP = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]
# Two people who stand side by side.
PEOPLE = np.stack([np.column_stack([np.linspace(x, x + 8, 14), np.linspace(8, 56, 14)]) for x in (10, 44)])
PEOPLE = PEOPLE.astype(np.float32)

DEKR = dict(
    neck=dict(type='FeatureMapProcessor', concat=True),
    head=dict(
        type='MultiScaleDEKRHead',
        in_channels=120,
        num_keypoints=14,
        num_heatmap_filters=8,
        num_displacement_filters_per_keypoint=2,
        heatmap_loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=SPR_CODEC,
    ),
    test_cfg=dict(flip_test=True, nms_dist_thr=0.05),
)
AE = dict(
    neck=dict(type='FeatureMapProcessor', concat=True),
    head=dict(
        type='AEHead',
        in_channels=120,
        num_keypoints=14,
        deconv_out_channels=None,
        decoder=dict(AE_CODEC, heatmap_size=SIZE),
    ),
    test_cfg=dict(flip_test=True, restore_heatmap_size=True),
)
KINDS = dict(dekr=DEKR, ae=AE)
CODECS = dict(dekr=SPR_CODEC, ae=AE_CODEC)


def model_cfg(kind, head=None, **kwargs):
    cfg = KINDS[kind]
    wrapped = dict(
        type='DualTeacherHead',
        head=cfg['head'],
        well_lit_teacher=dict(taps=['conv1', 'layer1'], loss=dict(type='GramLoss', loss_weight=1.0)),
        **(head or {}),
    )
    backbone = dict(
        type='ResNet',
        depth=18,
        base_channels=8,
        stem_channels=8,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='LSBN2d'),
    )
    parts = dict(type='LightingBottomupPoseEstimator', data_preprocessor=PREPROCESSOR, backbone=backbone)
    return {**parts, **cfg, 'head': wrapped, **kwargs}


def build(kind, **kwargs):
    torch.manual_seed(0)
    model = MODELS.build(model_cfg(kind, **kwargs))
    for i, bn in enumerate(bn for layer in lsbn_layers(model) for bn in layer.bns):
        nn.init.uniform_(bn.weight, 0.5 + i % 2, 1 + i % 2)
    return model


def sample(kind, **facts):
    encoded = (SPR if kind == 'dekr' else AEHeatmap)(**{k: v for k, v in CODECS[kind].items() if k != 'type'}).encode(
        PEOPLE, np.ones((2, 14), np.float32)
    )
    data = PoseDataSample(
        metainfo=dict(
            input_size=SIZE,
            img_shape=SIZE,
            input_center=np.array([32.0, 32.0]),
            input_scale=np.array([64.0, 64.0]),
            flip_indices=FLIP,
            **facts,
        )
    )
    indices = {k: torch.as_tensor(v) for k, v in encoded.items() if k == 'keypoint_indices'}
    data.gt_instance_labels = InstanceData(**indices)
    fields = {k: v for k, v in encoded.items() if np.ndim(v) == 3 and k != 'keypoint_indices'}
    data.gt_fields = PixelData(**fields, heatmap_mask=np.ones((1, 16, 16), bool)).to_tensor()
    return data


def pairs(kind, batch=2):
    torch.manual_seed(1)
    images = {name: [torch.randint(0, 255, (3, *SIZE)).float() for _ in range(batch)] for name in LIGHTINGS}
    return dict(inputs=images, data_samples=[sample(kind) for _ in range(batch)])


def losses_of(model, data):
    return model(**model.data_preprocessor(data, True), mode='loss')


@pytest.mark.parametrize('kind', KINDS)
class TestTraining:
    def test_both_lightings_have_a_loss_and_every_parameter_a_gradient(self, kind):
        model = build(kind)
        losses = losses_of(model, pairs(kind))
        model.parse_losses(losses)[0].backward()
        assert {key.split('.')[0] for key in losses} >= {*LIGHTINGS, 'loss_gram'}
        assert [name for name, p in model.named_parameters() if p.grad is None] == []

    def test_each_lighting_moves_its_own_statistics(self, kind):
        model = build(kind).train()
        data = pairs(kind)
        data['inputs'].pop('well_lit')
        for one in data['data_samples']:
            one.set_metainfo(dict(lighting='low_light'))
        before = [bn.running_mean.clone() for bn in model.backbone.bn1.bns]
        losses_of(model, data)
        moved = [not torch.equal(old, bn.running_mean) for old, bn in zip(before, model.backbone.bn1.bns)]
        assert moved == [True, False]

    def test_both_teachers(self, kind):
        model = build(kind, head=dict(momentum_teacher=dict(loss=dict(min_confidence=(0.0, 0.0)))))
        model.momentum_teacher.update(model.network)
        losses = losses_of(model, pairs(kind))
        assert losses['loss_distill'] > 0 and losses['taught_by_well_lit'] > 0
        total, _ = model.parse_losses(losses)
        total.backward()
        assert all(p.grad is None for p in model.momentum_teacher.parameters())

    def test_the_momentum_teacher_alone_teaches_images_without_partner_or_label(self, kind):
        model = build(kind, head=dict(momentum_teacher=dict(loss=dict(min_confidence=(0.0, 0.0)))))
        model.momentum_teacher.update(model.network)
        data = pairs(kind)
        data['inputs'].pop('well_lit')
        for one in data['data_samples']:
            one.set_metainfo(dict(lighting='low_light', labelled=()))
        losses = losses_of(model, data)
        assert {*losses} == {'loss_distill', 'taught_by_well_lit', 'taught_by_momentum'}
        assert losses['taught_by_well_lit'] == 0 and losses['taught_by_momentum'] > 0


@pytest.mark.parametrize('kind', KINDS)
class TestPrediction:
    def predict(self, model, data):
        with torch.no_grad():
            return [p.pred_instances for p in model.eval().val_step(data)]

    def test_a_batch_of_mixed_lightings_is_that_of_each(self, kind):
        """By their maps: those of an untrained network have too many maxima to speak of people."""
        model = build(kind).eval()
        model.test_cfg = dict(model.test_cfg, output_heatmaps=True)
        images = pairs(kind, 4)['inputs']['low_light']
        lit = ['low_light', 'well_lit', 'well_lit', 'low_light']

        def maps(images, lit):
            with torch.no_grad():
                found = model.val_step(dict(inputs=images, data_samples=[sample(kind, lighting=name) for name in lit]))
            return [one.pred_fields.heatmaps for one in found]

        together = maps(images, lit)
        for image, name, wanted in zip(images, lit, together):
            torch.testing.assert_close(maps([image], [name])[0], wanted)
        assert not torch.allclose(maps(images[:1], ['well_lit'])[0], together[0])

    def test_it_is_mmposes_prediction_under_that_lighting(self, kind):
        model = build(kind)
        stock = MODELS.build(
            dict(model_cfg(kind), type='BottomupPoseEstimator', head=KINDS[kind]['head'], data_preprocessor=None)
        )
        stock.load_state_dict(model.state_dict(), strict=False)
        data = dict(inputs=pairs(kind)['inputs']['low_light'][:1], data_samples=[sample(kind, lighting='low_light')])
        (mine,) = self.predict(model, data)
        image = model.data_preprocessor(data)['inputs']
        with torch.no_grad(), lighting(stock, 'low_light'):
            (theirs,) = stock.eval().predict(image, [sample(kind)])
        np.testing.assert_allclose(mine.keypoints, theirs.pred_instances.keypoints, atol=1e-4)

    def test_several_scales(self, kind):
        model = build(kind)
        model.test_cfg = dict(model.test_cfg, multiscale_test=True)
        scales = [torch.rand(3, side, side) * 255 for side in (64, 32, 128)]
        facts = dict(lighting='well_lit', aug_scales=[0.5, 2.0])
        data = pseudo_collate([dict(inputs=scales, data_samples=sample(kind, **facts)) for _ in range(2)])
        first, second = self.predict(model, data)
        np.testing.assert_allclose(first.keypoints, second.keypoints, atol=1e-3)
        assert np.isfinite(first.keypoints).all()


class TestDEKROnSeveralScales:
    def head(self):
        return MODELS.build(DEKR['head'])

    def outputs(self, scale, people=PEOPLE):
        """A perfect head's, of one scale."""
        side = int(64 * scale)
        codec = SPR(
            **{**{k: v for k, v in SPR_CODEC.items() if k != 'type'}, 'input_size': (side, side)}
            | dict(heatmap_size=(side // 4, side // 4))
        )
        encoded = codec.encode(people * scale, np.ones((len(people), 14), np.float32))
        return [torch.as_tensor(encoded[name])[None] for name in ('heatmaps', 'displacements')]

    def decode(self, outputs, scales, **kwargs):
        heatmaps, displacements = zip(*outputs)
        cfg = dict(dict(multiscale_test=True, nms_dist_thr=0.05), **kwargs)
        facts = dict(input_size=SIZE, aug_scales=scales)
        return self.head().decode(heatmaps, displacements, cfg, facts)[0]

    def test_everybody_is_found_once_and_in_the_right_place(self):
        found = self.decode([self.outputs(s) for s in (1, 0.5, 2)], [0.5, 2.0])
        order = np.argsort(found.keypoints[:, 0, 0])
        np.testing.assert_allclose(found.keypoints[order], PEOPLE, atol=4)
        assert len(order) == 2

    def test_who_is_seen_on_one_scale_only_is_found(self):
        nobody = [torch.zeros_like(tensor) for tensor in self.outputs(1)]
        found = self.decode([nobody, self.outputs(2, PEOPLE[:1])], [2.0])
        np.testing.assert_allclose(found.keypoints, PEOPLE[:1], atol=4)

    def test_nobody(self):
        nobody = [torch.zeros_like(tensor) for tensor in self.outputs(1)]
        assert self.decode([nobody], []).keypoints.shape == (0, 14, 2)

    def test_an_nms_is_needed(self):
        with pytest.raises(ValueError, match='nms_dist_thr=0.05'):
            self.decode([self.outputs(1)], [], nms_dist_thr=0)


class TestAE:
    def test_maps_of_another_padding_are_brought_to_one(self):
        maps = torch.arange(24.0).view(1, 1, 4, 6)
        assert torch.equal(_around_centre(maps, (4, 4)), maps[..., 1:5])
        assert torch.equal(_around_centre(maps, (6, 6))[..., 1:5, :], maps)

    def test_a_perfect_map_has_no_loss_but_where_it_is_masked(self):
        head = MODELS.build(AE['head'])
        data = [sample('ae')]
        wanted = data[0].gt_fields.heatmaps
        output = torch.cat([wanted, torch.zeros(14, 16, 16)])[None]
        head.forward = lambda feats: (output[:, :14], output[:, 14:])
        assert head.loss((), data)['loss_kpt'] == 0
        output[:, 0, 3, 5] += 1
        assert head.loss((), data)['loss_kpt'] > 0
        data[0].gt_fields.heatmap_mask[:, 3, 5] = False
        assert head.loss((), data)['loss_kpt'] == 0


class TestRefusals:
    def test_a_head_without_a_rule(self):
        cid = dict(
            type='CIDHead',
            in_channels=8,
            num_keypoints=14,
            gfd_channels=8,
            prior_prob=0.01,
            coupled_heatmap_loss=dict(type='FocalHeatmapLoss'),
            decoupled_heatmap_loss=dict(type='FocalHeatmapLoss'),
            contrastive_loss=dict(type='InfoNCELoss'),
            decoder=None,
        )
        head = dict(type='DualTeacherHead', head=cid)
        assert MODELS.build(dict(model_cfg('ae'), head=head))  # without that teacher it may be
        with pytest.raises(ValueError, match='CIDHead.*DEKRHead, AssociativeEmbeddingHead, RTMOHead'):
            MODELS.build(dict(model_cfg('ae'), head=dict(head, momentum_teacher=dict())))

    def test_a_head_of_one_person(self):
        one = dict(type='HeatmapHead', in_channels=8, out_channels=14, deconv_out_channels=None)
        head = dict(type='DualTeacherHead', head=one, momentum_teacher=dict())
        with pytest.raises(ValueError, match='HeatmapHead, of many people an image'):
            MODELS.build(dict(model_cfg('ae'), head=head))

    def test_a_backbone_without_batch_norms(self):
        backbone = dict(type='PyramidVisionTransformer', norm_cfg=dict(type='LSBN2d'))
        with pytest.raises(ValueError, match='layer norms.*leave LSBN2d out'):
            MODELS.build(dict(model_cfg('ae'), backbone=backbone))

    def test_a_loss_of_unknown_share(self):
        head = dict(type='DualTeacherHead', head=dict(type='CIDHead'), well_lit_teacher=dict())
        cid = dict(
            type='CIDHead',
            in_channels=8,
            num_keypoints=14,
            gfd_channels=8,
            prior_prob=0.01,
            coupled_heatmap_loss=dict(type='FocalHeatmapLoss'),
            decoupled_heatmap_loss=dict(type='FocalHeatmapLoss'),
            contrastive_loss=dict(type='InfoNCELoss'),
            decoder=None,
        )
        with pytest.raises(ValueError, match='no weight of the style loss is known for a .*CIDHead'):
            MODELS.build(dict(model_cfg('ae'), head=dict(head, head=cid)))


class TestDenseDistillation:
    """Two images in low light, of which the first has a partner."""

    def setup_method(self):
        torch.manual_seed(0)
        self.head = MODELS.build(AE['head'])
        self.rule = DenseDistillation(self.head, min_confidence=(0.5, 0.5))

    def views(self, labelled=('low_light', 'well_lit')):
        from exlpose_mm.views import BatchViews

        lit = [LIGHTINGS, 'low_light']
        return BatchViews([sample('ae', lighting=name, labelled=labelled) for name in lit])

    def maps(self, value, batch=2):
        return [torch.full((batch, 28, 2, 2), value)]

    def loss(self, student, well_lit, momentum, **kwargs):
        outputs = dict(low_light=self.maps(student), well_lit=self.maps(well_lit, 1))
        return self.rule(outputs, momentum and self.maps(momentum), [], self.views(**kwargs))

    def test_the_formula(self):
        """In image 1 the well-lit teacher speaks, at the weight 0.6 / 0.8; in image 2 the momentum teacher."""
        losses = self.loss(0.0, 0.8, 0.6)
        assert losses['loss_distill'].item() == pytest.approx((0.75 * 0.8**2 + 0.6**2) / 2)
        assert (losses['taught_by_well_lit'], losses['taught_by_momentum']) == (0.5, 0.5)

    def test_what_nobody_is_sure_of_is_not_taught(self):
        assert self.loss(0.0, 0.4, 0.4)['loss_distill'] == 0

    def test_in_the_burn_in_the_well_lit_teacher_is_alone(self):
        losses = self.loss(0.0, 0.8, None)
        assert losses['loss_distill'].item() == pytest.approx(0.8**2 / 2)

    def test_unlabelled_only(self):
        self.rule.unlabelled_only = True
        assert self.loss(0.0, 0.8, 0.8)['loss_distill'] == 0
        assert self.loss(0.0, 0.8, 0.8, labelled=['well_lit'])['loss_distill'].item() == pytest.approx(0.8**2)

    def test_the_student_alone_gets_a_gradient(self):
        outputs = dict(low_light=self.maps(0.1), well_lit=self.maps(0.8, 1))
        for tensor in (*outputs['low_light'], *outputs['well_lit']):
            tensor.requires_grad_()
        self.rule(outputs, self.maps(0.9), [], self.views())['loss_distill'].backward()
        assert outputs['low_light'][0].grad[:, :14].abs().min() > 0
        assert outputs['low_light'][0].grad[:, 14:].abs().max() == 0  # tags
        assert outputs['well_lit'][0].grad is None

    def test_displacements_are_taught_where_a_centre_is(self):
        output = dense_output_of(MODELS.build(DEKR['head']))
        maps, moves = torch.zeros(1, 15, 2, 2), torch.zeros(1, 28, 2, 2)
        maps[:, -1, 0, 1] = 0.7
        heatmaps, centres = output.confidences([maps, moves])
        assert centres.flatten().tolist() == pytest.approx([0, 0.7, 0, 0])
        moves[:, 0] = 10.0  # x of the first joint: the pose is 10 wide
        first, second = output.distances([maps, moves + 1], [maps, moves])
        assert first.abs().max() == 0
        torch.testing.assert_close(second, torch.full((1, 1, 2, 2), (1 - 1 / 18) / 10))

    def test_which_distillation(self):
        from exlpose_mm.models.dense_distillation import distillation_of

        one = MODELS.build(dict(type='HeatmapHead', in_channels=8, out_channels=14, deconv_out_channels=None))
        assert type(distillation_of(one, sigmas=METAINFO['sigmas'])) is Distillation
        assert type(distillation_of(self.head)) is DenseDistillation


def test_the_hook_moves_the_average_of_a_bottom_up_model():
    model = build('dekr', head=dict(momentum_teacher=dict()))
    assert MomentumTeacherHook._model(type('Runner', (), dict(model=model))) is model
    model.momentum_teacher.update(model.network)
    with torch.no_grad():
        model.backbone.conv1.weight.add_(1)
    before = model.momentum_teacher.network['backbone'].conv1.weight.clone()
    model.momentum_teacher.update(model.network)
    assert not torch.equal(before, model.momentum_teacher.network['backbone'].conv1.weight)
    assert isinstance(model.network['head'], MultiScaleDEKRHead)
