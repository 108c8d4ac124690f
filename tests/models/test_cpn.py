"""CPNHead against a plain spelling of GlobalNet, RefineNet and the loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.transforms import Compose
from mmengine.structures import InstanceData
from mmpose.evaluation.functional import pose_pck_accuracy
from mmpose.models.backbones import ResNet
from mmpose.registry import MODELS
from mmpose.structures import MultilevelPixelData, PoseDataSample

from exlpose_mm.codecs import CPNHeatmap
from exlpose_mm.models.heads.cpn import CPNHead, OHKMMSELoss, pck
from exlpose_mm.models.targets import CPNTargets

K = 14
FLIP_INDICES = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]
SMALL = dict(in_channels=(8, 16, 32, 64), channels=16, decoder=dict(type='CPNHeatmap'))


def make_feats(channels=(8, 16, 32, 64), batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, c, 64 // 2**i, 48 // 2**i, generator=generator) for i, c in enumerate(channels))


def make_samples(batch=2, seed=0, labelled=None, visible=None):
    """Samples as PackPoseInputs gives them."""
    rng = np.random.RandomState(seed)
    codec, samples = CPNHeatmap(), []
    for _ in range(batch):
        joints = rng.uniform((0, 0), (192, 256), (1, K, 2))
        encoded = codec.encode(joints, labelled, visible)
        sample = PoseDataSample(metainfo=dict(flip_indices=FLIP_INDICES))
        sample.gt_fields = MultilevelPixelData(heatmaps=encoded['heatmaps']).to_tensor()
        sample.gt_instance_labels = InstanceData(keypoint_weights=encoded['keypoint_weights']).to_tensor()
        samples.append(sample)
    return samples


def seeded_head(**kwargs):
    """A small head with its BNs away from the identity."""
    torch.manual_seed(0)
    head = CPNHead(**{**SMALL, **kwargs})
    for module in head.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return head


def plain_cpn(state, feats):
    """The maps of GlobalNet and RefineNet from weights alone (C5 first)."""

    def conv(x, name):
        weight = state[f'{name}.weight']
        return F.conv2d(x, weight, padding=weight.shape[-1] // 2)

    def norm(x, name):
        mean, var, weight, bias = (state[f'{name}.{key}'] for key in ('running_mean', 'running_var', 'weight', 'bias'))
        return F.batch_norm(x, mean, var, weight, bias)

    def resize(x, size):
        return F.interpolate(x, size=size, mode='bilinear', align_corners=True)

    def bottleneck(x, name):
        y = norm(conv(x, f'{name}.conv1'), f'{name}.bn1').relu()
        y = norm(conv(y, f'{name}.conv2'), f'{name}.bn2').relu()
        y = norm(conv(y, f'{name}.conv3'), f'{name}.bn3')
        short = conv(x, f'{name}.downsample.0')
        return (y + norm(short, f'{name}.downsample.1')).relu()

    outputs, refined, above = [], [], None
    for i, feat in enumerate(feats):
        name = f'global_net.laterals.{i}'
        level = norm(conv(feat, f'{name}.0'), f'{name}.1').relu()
        if i > 0:
            name = f'global_net.upsamples.{i - 1}'
            above = resize(above, feat.shape[-2:])
            level = level + norm(conv(above, f'{name}.1'), f'{name}.2')
        above = level
        name = f'global_net.predict.{i}'
        y = norm(conv(level, f'{name}.0'), f'{name}.1').relu()
        y = resize(conv(y, f'{name}.3'), (64, 48))
        outputs.append(norm(y, f'{name}.5'))
        for j in range(3 - i):
            level = bottleneck(level, f'refine_net.cascade.{i}.{j}')
        refined.append(resize(level, (64, 48)))
    y = bottleneck(torch.cat(refined, 1), 'refine_net.final_predict.0')
    y = conv(y, 'refine_net.final_predict.1')
    return [*outputs, norm(y, 'refine_net.final_predict.2')]


def test_parameter_count_of_the_official_model():
    """The official LSBN-CPN50 has 27,425,356 parameters.

    That is a ResNet-50 without classifier, a second copy of the weight and
    bias of each of its batch norms, and the head.
    """
    backbone = ResNet(50, out_indices=(0, 1, 2, 3))
    plain = sum(p.numel() for p in backbone.parameters())
    norms = sum(p.numel() for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d) for p in m.parameters())
    head = CPNHead()
    count = sum(p.numel() for p in head.parameters())
    assert (plain, norms, count) == (23_508_032, 53_120, 3_864_204)
    assert plain + norms + count == 27_425_356
    assert not any(m.bias is not None for m in head.modules() if isinstance(m, torch.nn.Conv2d))


def test_names_and_shapes_of_the_official_checkpoint():
    state = CPNHead().state_dict()
    shapes = {
        'global_net.laterals.0.0.weight': (256, 2048, 1, 1),
        'global_net.laterals.3.1.running_mean': (256,),
        'global_net.upsamples.2.1.weight': (256, 256, 1, 1),
        'global_net.upsamples.2.2.bias': (256,),
        'global_net.predict.3.3.weight': (14, 256, 3, 3),
        'global_net.predict.0.5.weight': (14,),
        'refine_net.cascade.0.2.conv2.weight': (128, 128, 3, 3),
        'refine_net.cascade.2.0.downsample.0.weight': (256, 256, 1, 1),
        'refine_net.final_predict.0.conv1.weight': (128, 1024, 1, 1),
        'refine_net.final_predict.1.weight': (14, 256, 3, 3),
        'refine_net.final_predict.2.running_var': (14,),
    }
    for name, shape in shapes.items():
        assert tuple(state[name].shape) == shape, name
    assert {name.split('.')[0] for name in state} == {'global_net', 'refine_net'}


def test_maps_equal_the_plain_spelling():
    head = seeded_head().eval()
    feats = make_feats()
    with torch.no_grad():
        maps = head(feats)
        expected = plain_cpn(head.state_dict(), feats[::-1])
    assert len(maps) == 5
    for got, wanted in zip(maps, expected):
        assert got.shape == (2, K, 64, 48)
        assert got.std() > 0.1
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4)


def test_initialization():
    torch.manual_seed(0)
    head = CPNHead(in_channels=(64, 128, 256, 512))
    head.init_weights()
    lateral = head.global_net.laterals[0][0].weight  # fan out 256
    assert lateral.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.02)
    conv = head.refine_net.final_predict[0].conv1.weight  # PyTorch's default
    assert conv.abs().max().item() <= (1 / 1024) ** 0.5
    assert conv.std().item() == pytest.approx((1 / 3072) ** 0.5, rel=0.02)


def test_loss_by_value():
    """The formulas in numpy, with occluded and unlabelled joints."""
    labelled, visible = np.ones((1, K)), np.ones((1, K))
    labelled[0, 3] = visible[0, 3] = visible[0, 8] = 0
    samples = make_samples(labelled=labelled, visible=visible)
    head = seeded_head()
    feats = make_feats()
    losses = head.loss(feats, samples)
    maps = [m.detach().numpy().astype(np.float64) for m in head(feats)]
    assert set(losses) == {'loss_global', 'loss_refine', 'acc_pose'}

    loss_global = 0
    for i in range(4):
        target = np.stack([s.gt_fields[i].heatmaps for s in samples])
        assert target[:, [3, 8]].max() == 0
        loss_global += ((maps[i] - target) ** 2).mean() / 2
    loss_refine = 0
    for b, sample in enumerate(samples):
        error = (maps[4][b] - sample.gt_fields[4].heatmaps.numpy()) ** 2
        per_joint = error.mean(axis=(1, 2)) * labelled[0]
        assert per_joint[8] > 0
        loss_refine += np.sort(per_joint)[-8:].sum() / 8 / len(samples)
    assert losses['loss_global'].item() == pytest.approx(loss_global, rel=1e-5)
    assert losses['loss_refine'].item() == pytest.approx(loss_refine, rel=1e-5)
    assert 0 <= losses['acc_pose'].item() <= 1


def test_ohkm_keeps_the_eight_hardest_labelled_joints():
    output = torch.zeros(2, K, 4, 3)
    output[0] = torch.arange(K).view(K, 1, 1).float()
    output.requires_grad_()
    weights = torch.ones(2, K)
    weights[0, 13] = 0
    loss = OHKMMSELoss()(output, torch.zeros(2, K, 4, 3), weights)
    expected = sum(k * k for k in range(5, 13)) / 8 / 2
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    trained = output.grad[0].abs().amax((1, 2)) > 0
    assert trained.tolist() == [5 <= k <= 12 for k in range(K)]


def test_ohkm_weight_scales_the_error_once():
    output = torch.ones(1, K, 2, 2)
    loss = OHKMMSELoss(loss_weight=3.0)(output, 0 * output, torch.full((1, K), 0.5))
    assert loss.item() == pytest.approx(1.5)


def test_perfect_maps_cost_nothing(monkeypatch):
    samples = make_samples()
    maps = [torch.stack([s.gt_fields[i].heatmaps for s in samples]) for i in range(5)]
    head = seeded_head()
    monkeypatch.setattr(head, 'forward', lambda feats: maps)
    losses = head.loss(None, samples)
    assert losses['loss_global'] == 0 and losses['loss_refine'] == 0
    assert losses['acc_pose'] == 1
    assert 'acc_pose' not in head.loss(None, samples, train_cfg=dict(compute_acc=False))


def test_pck_is_mmposes():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(40, 5, 16, 12, generator=generator) - 0.99
    output = target.roll(1, 2) * torch.tensor([1, 0, 1, 1, 1]).view(5, 1, 1)
    output[::2] = target[::2]
    target[3] = output[4] = -1.0
    labelled = torch.rand(40, 5, generator=generator) > 0.3
    labelled[:, 3] = False
    for maps, who in (
        (output, labelled),
        (output, ~labelled),
        (target, labelled),
        (output, torch.zeros_like(labelled)),
    ):
        _, want, _ = pose_pck_accuracy(maps.numpy(), target.numpy(), who.numpy())
        assert pck(maps, target, who).item() == pytest.approx(float(want))
    assert 0.2 < pck(output, target, labelled) < 0.9


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_loss_of_half_precision_maps(monkeypatch, dtype):
    """The squared peak, 65025, is about the largest float16."""
    head = seeded_head()
    maps = [torch.full((2, K, 64, 48), -200.0, dtype=dtype, requires_grad=True) for _ in range(5)]
    monkeypatch.setattr(head, 'forward', lambda feats: maps)
    losses = head.loss(None, make_samples())
    loss = losses['loss_global'] + losses['loss_refine']
    assert loss.dtype == torch.float32 and loss > 200**2 * 3
    loss.backward()
    assert all(m.grad.isfinite().all() for m in maps)


def test_gradient_reaches_every_parameter():
    head = seeded_head()
    losses = head.loss(make_feats(), make_samples())
    (losses['loss_global'] + losses['loss_refine']).backward()
    dead = [name for name, p in head.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert not dead


def test_predict_decodes_the_refined_map():
    head = seeded_head().eval()
    feats = make_feats()
    with torch.no_grad():
        preds, fields = head.predict(feats, make_samples(), test_cfg=dict(output_heatmaps=True))
        refined = head(feats)[-1]
    for b in range(2):
        torch.testing.assert_close(fields[b].heatmaps, refined[b])
        keypoints, scores = CPNHeatmap().decode(refined[b].numpy())
        np.testing.assert_array_equal(preds[b].keypoints, keypoints)
        np.testing.assert_array_equal(preds[b].keypoint_scores, scores)


def test_flip_test_averages_without_a_shift():
    head = seeded_head().eval()
    feats, mirrored = make_feats(seed=1), make_feats(seed=2)
    cfg = dict(flip_test=True, output_heatmaps=True)
    with torch.no_grad():
        preds, fields = head.predict([feats, mirrored], make_samples(), cfg)
        plain = head(feats)[-1].numpy()
        flipped = head(mirrored)[-1].numpy()[:, FLIP_INDICES, :, ::-1]
    assert preds[0].keypoints.shape == (1, K, 2)
    for b, field in enumerate(fields):
        np.testing.assert_allclose(field.heatmaps.numpy(), (plain[b] + flipped[b]) / 2, atol=1e-5)


def test_head_and_loss_are_registered():
    head = MODELS.build(dict(type='CPNHead', out_channels=9, **SMALL))
    assert head(make_feats())[-1].shape == (2, 9, 64, 48)
    assert MODELS.build(dict(type='OHKMMSELoss', topk=3)).topk == 3


def test_other_numbers_of_levels():
    decoder = dict(type='CPNHeatmap', kernel_sizes=(11, 7))
    head = CPNHead(in_channels=(8, 16), channels=16, decoder=decoder)
    assert [len(stage) - 1 for stage in head.refine_net.cascade] == [1, 0]
    assert len(head(make_feats((8, 16)))) == 3


def test_errors():
    head = seeded_head()
    with pytest.raises(ValueError, match=r'\(8, 16, 32, 64\).*\(8, 16\)'):
        head(make_feats((8, 16)))
    with pytest.raises(ValueError, match=r'got \(8, 16, 32, 65\)'):
        head(make_feats((8, 16, 32, 65)))
    with pytest.raises(ValueError, match='finest first'):
        head(make_feats()[::-1])
    with pytest.raises(ValueError, match='predicts 5 maps.*got.*for 4'):
        samples = make_samples()
        for sample in samples:
            sample.gt_fields = MultilevelPixelData(heatmaps=sample.gt_fields.heatmaps[:4])
        head.loss(make_feats(), samples)
    with pytest.raises(ValueError, match='15'):
        seeded_head(channels=15)
    with pytest.raises(ValueError, match='no feature map'):
        CPNHead(in_channels=())
    with pytest.raises(ValueError, match=r'\(24, 32\)'):
        seeded_head(decoder=dict(type='CPNHeatmap', input_size=(96, 128), heatmap_size=(24, 32)))
    with pytest.raises(ValueError, match="'num_levels': 2"):
        seeded_head(decoder=dict(type='CPNHeatmap', kernel_sizes=(9, 7)))
    with pytest.raises(ValueError, match='topk=8.*got maps of 5'):
        OHKMMSELoss()(*[torch.zeros(1, 5, 2, 2)] * 2, torch.ones(1, 5))
    with pytest.raises(ValueError, match='topk'):
        OHKMMSELoss(topk=0)


class TestTargetsDrawnByTheHead:
    """From the joints alone, the maps that the loader's worker would draw."""

    def encoded(self, draw, **kwargs):
        rng = np.random.RandomState(3)
        codec = CPNHeatmap(draw=draw, **kwargs)
        for _ in range(6):
            joints = rng.uniform((-30, -30), (222, 286), (1, K, 2))  # some of them outside
            labelled, visible = rng.randint(0, 2, (2, 1, K))
            yield codec.encode(joints, labelled.astype(np.float32), visible.astype(np.float32))

    @pytest.mark.parametrize('kwargs', [{}, dict(kernel_sizes=(5, 3), refine_kernel_size=9)])
    def test_they_are_the_workers(self, kwargs):
        maps = [[torch.from_numpy(level) for level in one['heatmaps']] for one in self.encoded(True, **kwargs)]
        joints = [torch.from_numpy(one['keypoint_cells']) for one in self.encoded(False, **kwargs)]
        drawn = CPNTargets(CPNHeatmap(**kwargs))(joints)
        assert len(drawn) == len(maps[0]) and sum(level.count_nonzero() for level in drawn) > 1000
        for got, want in zip(drawn, zip(*maps)):
            torch.testing.assert_close(got, torch.stack(want), rtol=1e-6, atol=0)

    def test_the_losses_and_what_travels(self):
        """Through MMPose's own transforms."""
        losses, sizes = [], []
        for draw in (True, False):
            codec = dict(type='CPNHeatmap', draw=draw)
            steps = Compose([dict(type='GenerateTarget', encoder=codec), dict(type='PackPairedInputs')])
            rng, samples = np.random.RandomState(0), []
            for _ in range(3):
                joints = rng.uniform((0, 0), (192, 256), (1, K, 2)).astype(np.float32)
                visible = np.ones((1, K), np.float32)
                image = np.zeros((256, 192, 3), np.uint8)
                results = dict(img=image, keypoints=joints, transformed_keypoints=joints, keypoints_visible=visible)
                results.update(keypoints_visible_weights=visible, lighting='low_light')
                samples.append(steps(results)['data_samples'])
            sizes.append('gt_fields' in samples[0])
            losses.append(seeded_head(decoder=codec).loss(make_feats(batch=3), samples))
        assert sizes == [True, False]
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=0)

    def test_a_head_without_the_codec(self):
        samples = make_samples()
        for sample in samples:
            sample.gt_instance_labels.keypoint_cells = torch.zeros(1, K, 4, dtype=torch.int32)
        with pytest.raises(ValueError, match=r'draws the targets of CPNHeatmap\(draw=False\) by its decoder'):
            seeded_head(decoder=None).loss(make_feats(), samples)
