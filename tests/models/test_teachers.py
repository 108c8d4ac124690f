"""The momentum teacher, the rule that fuses what two teachers say, and training with both."""

import copy
import logging

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS
from mmengine.structures import PixelData
from mmpose.registry import MODELS
from test_estimators import build, model_cfg, pairs
from torch import nn

from exlpose_mm import lighting
from exlpose_mm.engine.hooks.finite_loss import FiniteLossHook
from exlpose_mm.engine.hooks.momentum_teacher import MomentumTeacherHook
from exlpose_mm.models.distillation import HeatmapOutput
from exlpose_mm.models.pseudo_labels import PseudoLabels, fuse_pseudo_labels
from exlpose_mm.models.teachers import MomentumTeacher
from exlpose_mm.views import MOMENTUM_VIEW, BatchViews

HEAVY = dict(type='ExponentialMovingAverage', momentum=0.25)


def with_teacher(head=None, **kwargs):
    cfg = model_cfg()['head']
    teacher = dict(average=HEAVY, loss=dict(min_confidence=(0.0, 0.0)), **kwargs)
    return build(head={**cfg, 'momentum_teacher': teacher, **(head or {})})


def boxed_pairs(batch=2):
    """Pairs whose people have boxes."""
    data = pairs(batch)
    for sample in data['data_samples']:
        sample.gt_instances.bboxes = torch.tensor([[8.0, 8.0, 40.0, 56.0]]).numpy()
        sample.gt_instances.bbox_scales = torch.tensor([[64.0, 64.0]]).numpy()
    return data


def batch(model, view=False):
    data = boxed_pairs()
    if view:
        data['inputs'][MOMENTUM_VIEW] = [image.flip(2) for image in data['inputs']['low_light']]
    return model.data_preprocessor(data, True)


def labels(confidence, x=0.0):
    confidence = torch.tensor([confidence])
    return PseudoLabels(torch.full((*confidence.shape, 2), x), confidence)


class TestFusion:
    def test_the_rule(self):
        well_lit = labels([0.9, 0.9, 0.1, 0.1])
        momentum = labels([0.9, 0.1, 0.9, 0.1])
        agreement = torch.tensor([[0.6, 0.6, 0.6, 0.6]])
        fused = fuse_pseudo_labels(well_lit, momentum, torch.tensor([True]), agreement, (0.5, 0.5))
        assert fused.from_well_lit.tolist() == [[True, True, False, False]]
        assert fused.from_momentum.tolist() == [[False, False, True, False]]
        torch.testing.assert_close(fused.weight, torch.tensor([[0.6, 1.0, 1.0, 0.0]]))
        shares = fused.shares()
        assert (shares['taught_by_well_lit'], shares['taught_by_momentum']) == (0.5, 0.25)

    def test_without_a_partner_the_momentum_teacher_speaks_alone(self):
        sure = labels([0.9, 0.1])
        fused = fuse_pseudo_labels(labels([0.9, 0.9]), sure, torch.tensor([False]), torch.zeros(1, 2), (0.5, 0.5))
        assert not fused.from_well_lit.any() and fused.from_momentum.tolist() == [[True, False]]
        torch.testing.assert_close(fused.weight, torch.tensor([[1.0, 0.0]]))

    def test_each_has_its_own_threshold(self):
        both = labels([0.4])
        for bounds, want in (((0.5, 0.3), (False, True)), ((0.3, 0.5), (True, False)), ((0.5, 0.5), (False, False))):
            fused = fuse_pseudo_labels(both, both, torch.tensor([True]), torch.ones(1, 1), bounds)
            assert (fused.from_well_lit.item(), fused.from_momentum.item()) == want


class TestMomentumTeacher:
    def network(self):
        torch.manual_seed(0)
        head = nn.Sequential(nn.Conv2d(4, 2, 1))
        head.distilled_output = HeatmapOutput('0')
        return nn.ModuleDict(dict(backbone=nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), head=head))

    def test_the_formula_of_weights_and_statistics(self):
        network = self.network()
        teacher = MomentumTeacher(network, HEAVY)
        teacher.update(network)
        wanted = {name: t.clone().double() for name, t in network.state_dict().items()}
        for _ in range(3):
            for name, tensor in network.state_dict().items():
                if tensor.is_floating_point():
                    tensor.add_(torch.randn_like(tensor).abs())
                    wanted[name] = 0.75 * wanted[name] + 0.25 * tensor
            teacher.update(network)
        for name, tensor in teacher.network.state_dict().items():
            if tensor.is_floating_point():
                torch.testing.assert_close(tensor.double(), wanted[name], msg=name)
        assert teacher.updates == 4

    @pytest.mark.parametrize(
        'average',
        [
            HEAVY,
            dict(HEAVY, interval=2),
            dict(type='MomentumAnnealingEMA', momentum=0.3, gamma=2),
            dict(type='MomentumAnnealingEMA', momentum=0.01),
            dict(type='StochasticWeightAverage'),
        ],
    )
    def test_it_is_mmengines_average(self, average):
        network = self.network()
        teacher = MomentumTeacher(network, average)
        theirs = MODELS.build(dict(average, model=network, update_buffers=True))
        for _ in range(6):
            for tensor in network.state_dict().values():
                tensor.add_(torch.randn(tensor.shape).to(tensor))
            teacher.update(network)
            theirs.update_parameters(network)
        for name, tensor in theirs.state_dict().items():
            assert torch.equal(teacher.average.state_dict()[name], tensor), name
        assert teacher.updates == 6

    def test_it_follows_after_it_has_moved(self):
        network = self.network()
        teacher = MomentumTeacher(network, HEAVY)
        teacher.to(torch.float64).to(torch.float32)  # new tensors, as another device would bring
        with torch.no_grad():
            network['head'][0].weight.add_(1)
        teacher.update(network)
        torch.testing.assert_close(teacher.network['head'][0].weight, network['head'][0].weight)

    def test_it_stays_in_evaluation_mode_without_gradients(self):
        teacher = MomentumTeacher(self.network())
        teacher.train()
        assert not any(module.training for module in teacher.modules())
        assert not any(p.requires_grad for p in teacher.parameters())
        (out,) = teacher(torch.rand(2, 3, 8, 8, requires_grad=True))
        assert out.shape == (2, 2, 8, 8) and not out.requires_grad

    def test_a_neck_belongs_to_it(self):
        model = build(neck=dict(type='FeatureMapProcessor', scale_factor=0.5))
        network = model.network.eval()
        assert list(network) == ['backbone', 'head', 'neck']
        images = torch.rand(2, 3, 64, 64)
        (out,) = MomentumTeacher(network)(images)
        with torch.no_grad(), lighting(model, 'low_light'):
            torch.testing.assert_close(out, model.head.head.forward(model.extract_feat(images)))
        assert out.shape == (2, 14, 8, 8), 'half of what the head puts out without the neck'

    def test_it_teaches_after_its_burn_in(self):
        network = self.network()
        teacher = MomentumTeacher(network, HEAVY, burn_in=2)
        heard = []
        for _ in range(4):
            heard.append(teacher.teaches)
            teacher.update(network)
        assert heard == [False, False, False, True]

    def test_a_negative_burn_in(self):
        with pytest.raises(ValueError, match='got -1'):
            MomentumTeacher(self.network(), burn_in=-1)


class TestTraining:
    def test_losses_and_shares(self):
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        losses = model(**batch(model), mode='loss')
        assert losses['loss_distill'] > 0
        assert losses['taught_by_well_lit'] == 1 and losses['taught_by_momentum'] == 0
        _, log = model.parse_losses(losses)
        assert {'loss_distill', 'taught_by_well_lit', 'low_light.loss_kpt'} <= set(log)

    def test_the_target_spelled_out(self):
        """Where only the momentum teacher speaks: the divergence from its maps on its own view."""
        model = with_teacher()
        model.momentum_teacher.distillation.min_confidence = (2.0, 0.0)
        model.momentum_teacher.update(model.network)
        data = batch(model, view=True)
        before = copy.deepcopy(model)
        losses = model(**data, mode='loss')
        with torch.no_grad(), lighting(before, 'low_light'):
            before.eval()
            teacher = before.head.head.forward(before.extract_feat(data['inputs'][MOMENTUM_VIEW]))
        before.train()
        with lighting(before, 'low_light'):
            student = before.head.head.forward(before.extract_feat(data['inputs']['low_light']))
        p, q = (maps.flatten(2).softmax(-1) for maps in (teacher, student))
        torch.testing.assert_close(losses['loss_distill'], (p * (p / q).log()).sum(-1).mean(), rtol=1e-3, atol=1e-6)
        assert losses['taught_by_momentum'] == 1

    def test_the_distillation_trains_the_low_light_side_only(self):
        model = with_teacher(head=dict(well_lit_teacher=None))
        model.momentum_teacher.update(model.network)
        model(**batch(model), mode='loss')['loss_distill'].backward()
        layer = model.backbone.layer1[0].bn1
        assert layer.bns[0].weight.grad.abs().sum() > 0 and layer.bns[1].weight.grad is None
        assert all(p.grad is None for p in model.momentum_teacher.parameters())

    def test_the_well_lit_teacher_speaks_alone_in_the_burn_in(self):
        model = with_teacher(burn_in=1)
        model.momentum_teacher.update(model.network)
        data = batch(model)
        losses = model(**data, mode='loss')
        assert (losses['taught_by_well_lit'], losses['taught_by_momentum']) == (1, 0)
        maps = {}
        for name in ('low_light', 'well_lit'):
            with lighting(model, name):
                maps[name] = model.head.forward(model.backbone(data['inputs'][name]))
        logs = {name: x.flatten(2).log_softmax(dim=-1) for name, x in maps.items()}
        want = (logs['well_lit'].exp() * (logs['well_lit'] - logs['low_light'])).sum(dim=-1).mean()
        torch.testing.assert_close(losses['loss_distill'], want)

    def test_nobody_speaks_in_the_burn_in_without_partners(self):
        model = with_teacher(burn_in=1)
        model.momentum_teacher.update(model.network)
        data = batch(model)
        del data['inputs']['well_lit']
        for sample in data['data_samples']:
            sample.set_metainfo(dict(lighting='low_light', labelled=()))
        silent = model(**data, mode='loss')['loss_distill']
        assert silent == 0
        silent.backward()
        assert model.backbone.conv1.weight.grad.abs().sum() == 0, 'in the graph, for distributed training'

    def test_dark_images_without_labels(self):
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        data = batch(model)
        for sample in data['data_samples']:
            sample.set_metainfo(dict(labelled=('well_lit',)))
        losses = model(**data, mode='loss')
        assert 'well_lit.loss_kpt' in losses and not any(name.startswith('low_light') for name in losses)
        model.parse_losses(losses)[0].backward()
        assert model.backbone.layer1[0].bn1.bns[0].weight.grad.abs().sum() > 0

    def test_some_of_a_batch_without_labels(self):
        """The loss is that of the labelled people, the output everybody's, in order."""
        head = with_teacher().head.eval()
        data = batch(with_teacher())
        feats = (torch.randn(3, 64, 2, 2),)
        people = [copy.deepcopy(data['data_samples'][0]) for _ in range(3)]
        losses, (output,) = head._supervise(feats, people, [False, True, True], {}, ['final_layer'])
        torch.testing.assert_close(output, head.head.forward(feats))
        want = head.head.loss((feats[0][1:],), people[1:])['loss_kpt']
        torch.testing.assert_close(losses['loss_kpt'], want)

    def test_only_people_without_labels_are_taught(self):
        """As if the labelled were not in the batch."""
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        model.eval()  # so that the rest of the batch does not matter
        data = batch(model)
        data['data_samples'][0].set_metainfo(dict(labelled=('well_lit',)))
        first = {name: images[:1] for name, images in data['inputs'].items()}
        alone = model(first, data['data_samples'][:1], mode='loss')
        model.momentum_teacher.distillation.unlabelled_only = True
        losses = model(**data, mode='loss')
        torch.testing.assert_close(losses['loss_distill'], alone['loss_distill'])
        assert alone['loss_distill'] > 0 and losses['taught_by_well_lit'] == 0.5
        data['data_samples'][0].set_metainfo(dict(labelled=('low_light', 'well_lit')))
        assert model(**data, mode='loss')['loss_distill'] == 0, 'nobody is left'

    def test_a_batch_of_well_lit_and_dark_strangers(self):
        """Two labelled well-lit images and one dark image without labels: as if each were alone."""
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        data = pairs(3)
        dark, lit = data['inputs']['low_light'], data['inputs']['well_lit']
        inputs = dict(low_light=[None, dark[1], None], well_lit=[lit[0], None, lit[2]])
        for sample, name in zip(data['data_samples'], ('well_lit', 'low_light', 'well_lit')):
            sample.set_metainfo(dict(lighting=name, labelled=('well_lit',)))
            sample.gt_instances.bboxes = torch.tensor([[8.0, 8.0, 40.0, 56.0]]).numpy()
            sample.gt_instances.bbox_scales = torch.tensor([[64.0, 64.0]]).numpy()
        del data['data_samples'][1].gt_fields
        out = model.data_preprocessor(dict(inputs=inputs, data_samples=data['data_samples']), True)
        assert {name: len(x) for name, x in out['inputs'].items()} == dict(low_light=1, well_lit=2)
        losses = model(**out, mode='loss')
        assert set(losses) == {
            'well_lit.loss_kpt',
            'well_lit.acc_pose',
            'loss_distill',
            'taught_by_well_lit',
            'taught_by_momentum',
        }
        assert (losses['taught_by_well_lit'], losses['taught_by_momentum']) == (0, 1)
        model.parse_losses(losses)[0].backward()
        assert all(bn.weight.grad is not None for bn in model.backbone.layer1[0].bn1.bns)

    def test_sizes_of_people_and_crops(self):
        """In the rows of the low-light images; where a box lies is not its size."""
        data = pairs(3)
        boxes = [[8.0, 9.0, 40.0, 56.0], [0.0, 0.0, 1.0, 1.0], [100.0, 50.0, 103.0, 57.0]]
        for sample, box in zip(data['data_samples'], boxes):
            sample.gt_instances.bboxes = np.array([box], np.float32)
            sample.gt_instances.bbox_scales = np.array([[2 * box[2], 3 * box[3]]], np.float32)
        data['data_samples'][1].set_metainfo(dict(lighting='well_lit'))
        data['data_samples'][2].set_metainfo(dict(lighting='low_light'))
        facts = with_teacher().momentum_teacher.distillation._facts(
            data['data_samples'], BatchViews(data['data_samples'])
        )
        sizes, crops, partners, taught = (part.tolist() for part in facts)
        assert sizes == [[32, 47], [3, 7]] and crops == [[80, 168], [206, 171]]
        assert partners == [True, False] and taught == [True, True]

    def test_partners_find_each_other(self):
        """A pair among strangers is compared with its own partner."""
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        model.eval()  # so that the rest of the batch does not matter
        data = batch(model)
        alone = model(**data, mode='loss')
        low, well = data['inputs']['low_light'], data['inputs']['well_lit']
        strangers = copy.deepcopy(data['data_samples'])
        strangers[0].set_metainfo(dict(lighting='well_lit'))
        strangers[1].set_metainfo(dict(lighting='low_light'))
        mixed = model(
            dict(low_light=torch.cat([1 - low[:1], low]), well_lit=torch.cat([1 + well[:1], well])),
            [strangers[1], strangers[0], *data['data_samples']],
            mode='loss',
        )
        for name, value in zip(alone['loss_gram'], mixed['loss_gram']):
            torch.testing.assert_close(name, value)
        assert mixed['taught_by_well_lit'].item() == pytest.approx(2 / 3)
        assert mixed['taught_by_momentum'].item() == pytest.approx(1 / 3)

    def test_all_defaults(self):
        model = build(head={**model_cfg()['head'], 'momentum_teacher': {}})
        assert model.momentum_teacher.burn_in == 0 and model.momentum_teacher.distillation.loss_weight == 1

    @pytest.mark.parametrize('sigmas', [None, [0.05] * 17])
    def test_another_number_of_joints_needs_its_sigmas(self, sigmas):
        cfg = {**model_cfg()['head'], 'momentum_teacher': dict(loss=dict(sigmas=sigmas) if sigmas else {})}
        cfg['head'] = {**cfg['head'], 'out_channels': 17}
        if not sigmas:
            with pytest.raises(ValueError, match=r'has 17 joints, but .* 14 sigmas .*dict\(loss=dict\(sigmas='):
                build(head=cfg)
            return
        model, data = build(head=cfg), boxed_pairs()
        for one in data['data_samples']:
            one.gt_instance_labels.keypoint_weights = torch.ones(1, 17)
            one.gt_fields = PixelData(heatmaps=torch.rand(17, 16, 16))
        model.momentum_teacher.update(model.network)
        assert model(**model.data_preprocessor(data, True), mode='loss')['loss_distill'] > 0

    def test_the_models_metainfo_has_its_sigmas(self):
        cfg = {**model_cfg()['head'], 'momentum_teacher': {}}
        cfg['head'] = {**cfg['head'], 'out_channels': 17}
        coco = dict(from_file='configs/_base_/datasets/coco.py')
        teacher = build(head=cfg, metainfo=coco).momentum_teacher
        assert len(teacher.distillation.sigmas) == 17 and teacher.distillation.sigmas[0].item() == pytest.approx(0.026)
        cfg['momentum_teacher'] = dict(loss=dict(sigmas=[0.05] * 17))
        teacher = build(head=cfg, metainfo=coco).momentum_teacher
        assert teacher.distillation.sigmas[0].item() == pytest.approx(0.05), "the config's go first"

    def test_a_head_that_does_not_say_how_many_joints_it_has(self):
        model = with_teacher()
        model.momentum_teacher.distillation.sigmas = torch.full((17,), 0.05)
        with pytest.raises(ValueError, match='has 14 joints, but the momentum teacher 17 sigmas'):
            model(**batch(model), mode='loss')

    def test_the_config_is_left_as_it_was(self):
        head = {**model_cfg()['head'], 'momentum_teacher': dict(burn_in=3)}
        assert build(head=head).momentum_teacher.burn_in == build(head=head).momentum_teacher.burn_in == 3

    @pytest.mark.parametrize('name', ['low_light', 'well_lit'])
    def test_a_batch_of_one_lighting(self, name):
        """Of both teachers those speak who can: none on well-lit images, none beside but the momentum teacher."""
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        data = batch(model, view=True)
        for other in {*data['inputs']} - ({name, MOMENTUM_VIEW} if name == 'low_light' else {name}):
            del data['inputs'][other]
        for one in data['data_samples']:
            one.set_metainfo(dict(lighting=name))
        losses = model(**data, mode='loss')
        assert f'{name}.loss_kpt' in losses and 'loss_gram' not in losses
        assert losses.get('taught_by_momentum') == (1 if name == 'low_light' else None)
        model.parse_losses(losses)[0].backward()
        assert model.backbone.conv1.weight.grad.abs().sum() > 0

    def test_views_of_some_dark_images_only(self):
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        data = batch(model, view=True)
        data['inputs'][MOMENTUM_VIEW] = data['inputs'][MOMENTUM_VIEW][:1]
        with pytest.raises(ValueError, match='2 low-light images, but 1 views .*: put AddMomentumView into all'):
            model(**data, mode='loss')

    def test_a_checkpoint_holds_it(self):
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        with torch.no_grad():
            model.backbone.conv1.weight.add_(1)
        model.momentum_teacher.update(model.network)
        again = with_teacher()
        again.load_state_dict(model.state_dict())
        assert again.momentum_teacher.updates == 2
        torch.testing.assert_close(
            again.momentum_teacher.network['backbone'].conv1.weight,
            model.momentum_teacher.network['backbone'].conv1.weight,
        )
        again.momentum_teacher.update(again.network)
        model.momentum_teacher.update(model.network)
        for a, b in zip(again.state_dict().values(), model.state_dict().values()):
            torch.testing.assert_close(a, b)


class FakeRunner:
    def __init__(self, model, accumulative_counts=1):
        self.model = model
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        self.optim_wrapper = OptimWrapper(optimizer, accumulative_counts=accumulative_counts)

    def step(self, hook, scale=1):
        loss = sum(p.square().sum() for p in self.model.network.parameters())
        self.optim_wrapper.update_params(loss * scale)
        hook.after_train_iter(self, 0)


class TestHook:
    @pytest.mark.parametrize('accumulative_counts', [1, 3])
    def test_one_update_for_each_step_of_the_optimiser(self, accumulative_counts):
        model = with_teacher()
        runner, hook = FakeRunner(model, accumulative_counts), HOOKS.build(dict(type='MomentumTeacherHook'))
        hook.before_train(runner)
        assert model.momentum_teacher.updates == 1
        for _ in range(6):
            runner.step(hook)
        assert model.momentum_teacher.updates == 1 + 6 // accumulative_counts

    @pytest.mark.parametrize('accumulative_counts', [1, 2])
    @pytest.mark.parametrize('bad', ['loss', 'gradients'])
    def test_a_step_that_was_left_out_is_none(self, bad, accumulative_counts):
        model = with_teacher()
        runner, hook, guard = FakeRunner(model, accumulative_counts), MomentumTeacherHook(), FiniteLossHook('skip')
        runner.iter, runner.logger = 0, logging.getLogger()
        hook.before_train(runner), guard.before_train(runner)
        updates = []
        for scale in (1, 1, float('nan'), 1, 1, 1):
            weight = model.backbone.conv1.weight
            handle = weight.register_hook(lambda grad, scale=scale: grad * scale) if bad == 'gradients' else None
            runner.step(hook, scale if bad == 'loss' else 1)
            if handle:
                handle.remove()
            updates.append(model.momentum_teacher.updates - 1)
        assert updates == {1: [1, 2, 2, 3, 4, 5], 2: [0, 1, 1, 1, 1, 2]}[accumulative_counts] and guard.skipped == 1
        assert model.momentum_teacher.network['backbone'].conv1.weight.isfinite().all()

    def test_a_step_that_the_loss_scaler_left_out_is_none(self):
        model = with_teacher()
        runner, hook = FakeRunner(model), MomentumTeacherHook()
        hook.before_train(runner)
        runner.optim_wrapper.step = lambda: None  # as it does then: the optimiser is not called
        runner.step(hook)
        assert model.momentum_teacher.updates == 1

    def test_after_training_it_follows_no_longer(self):
        runner, hook = FakeRunner(with_teacher()), MomentumTeacherHook()
        hook.before_train(runner)
        hook.after_train(runner)
        runner.step(hook)
        assert runner.model.momentum_teacher.updates == 1

    def test_a_resumed_teacher_is_not_reset(self):
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        with torch.no_grad():
            model.backbone.conv1.weight.add_(1)
        MomentumTeacherHook().before_train(FakeRunner(model))
        assert model.momentum_teacher.updates == 1
        assert (model.momentum_teacher.network['backbone'].conv1.weight != model.backbone.conv1.weight).all()

    @pytest.mark.parametrize('phase', ['val', 'test'])
    def test_its_weights_are_evaluated_and_the_networks_come_back(self, phase):
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        with torch.no_grad():
            model.backbone.conv1.weight.add_(1)
        before = {name: t.clone() for name, t in model.state_dict().items()}
        runner, hook = FakeRunner(model), MomentumTeacherHook(evaluate=True)
        getattr(hook, f'before_{phase}_epoch')(runner)
        torch.testing.assert_close(
            model.backbone.conv1.weight, before['momentum_teacher.average.module.backbone.conv1.weight']
        )
        getattr(hook, f'after_{phase}_epoch')(runner)
        for name, tensor in model.state_dict().items():
            torch.testing.assert_close(tensor, before[name])

    def test_one_that_was_never_trained_is_not_evaluated(self):
        with pytest.raises(ValueError, match='never trained.*evaluate=False'):
            MomentumTeacherHook(evaluate=True).before_test_epoch(FakeRunner(with_teacher()))

    def test_by_default_the_network_is_evaluated(self):
        model = with_teacher()
        model.momentum_teacher.update(model.network)
        with torch.no_grad():
            model.backbone.conv1.weight.add_(1)
        kept = model.backbone.conv1.weight.clone()
        MomentumTeacherHook().before_val_epoch(FakeRunner(model))
        torch.testing.assert_close(model.backbone.conv1.weight, kept)

    def test_a_model_without_a_teacher_is_refused(self):
        with pytest.raises(ValueError, match='no momentum teacher'):
            MomentumTeacherHook().before_train(FakeRunner(build()))
