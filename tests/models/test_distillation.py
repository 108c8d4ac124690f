"""What heads put out, as targets for a student."""

import numpy as np
import pytest
import torch
from mmpose.registry import MODELS

from exlpose_mm.models.distillation import HeatmapOutput, LogitOutput, choose, output_of
from exlpose_mm.models.pseudo_labels import similarity

HEADS = {
    'heatmap': dict(
        type='HeatmapHead', in_channels=8, out_channels=3, deconv_out_channels=None, loss=dict(type='KeypointMSELoss')
    ),
    'logits': dict(
        type='HeatmapHead',
        in_channels=8,
        out_channels=3,
        deconv_out_channels=None,
        loss=dict(type='HeatmapCrossEntropyLoss'),
    ),
    'simcc': dict(
        type='SimCCHead',
        in_channels=8,
        out_channels=3,
        input_size=(16, 16),
        in_featuremap_size=(8, 8),
        deconv_out_channels=None,
        loss=dict(type='KLDiscretLoss', beta=2.0),
    ),
    'rtmcc': dict(
        type='RTMCCHead',
        in_channels=8,
        out_channels=3,
        input_size=(16, 16),
        in_featuremap_size=(8, 8),
        gau_cfg=dict(
            hidden_dims=16,
            s=8,
            expansion_factor=2,
            dropout_rate=0.0,
            drop_path=0.0,
            act_fn='SiLU',
            use_rel_bias=False,
            pos_enc=False,
        ),
        loss=dict(type='KLDiscretLoss', beta=10.0),
    ),
    'cpn': dict(type='CPNHead', in_channels=(8, 8), out_channels=3, heatmap_size=(8, 8), channels=4),
}


def maps(rows, columns, cell, batch=2, joints=3):
    out = torch.zeros(batch, joints, rows, columns)
    out[:, :, cell[1], cell[0]] = 1.0
    return out


class TestOutputOf:
    @pytest.mark.parametrize('kind', HEADS)
    def test_the_layers_are_what_the_head_returns_last(self, kind):
        head = MODELS.build(HEADS[kind])
        output = output_of(head)
        kept = {}
        for name in output.layers:
            head.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: kept.update({name: o}))
        feats = [torch.randn(2, 8, 8, 8), torch.randn(2, 8, 4, 4)] if kind == 'cpn' else [torch.randn(2, 8, 8, 8)]
        out = head.forward(feats)
        out = [out] if torch.is_tensor(out) else list(out)[-len(output.layers) :]
        for name, want in zip(output.layers, out):
            torch.testing.assert_close(kept[name], want)
        labels = output.pseudo_labels(out)
        assert labels.position.shape == (2, 3, 2) and labels.confidence.shape == (2, 3)
        assert output.distances(out, out).abs().max() < 1e-6

    def test_other_heads_are_refused(self):
        head = MODELS.build(dict(type='RegressionHead', in_channels=8, num_joints=3))
        with pytest.raises(ValueError, match='no rule.*RegressionHead.*distilled_output'):
            output_of(head)

    def test_a_head_may_bring_its_own(self):
        head = torch.nn.Identity()
        head.distilled_output = HeatmapOutput('x')
        assert output_of(head) is head.distilled_output


class TestHeatmaps:
    def test_pseudo_labels(self):
        labels = HeatmapOutput('x', peak=255.0).pseudo_labels([127.5 * maps(8, 4, (3, 5))])
        torch.testing.assert_close(labels.position[1, 2], torch.tensor([3.5 / 4, 5.5 / 8]))
        torch.testing.assert_close(labels.confidence, torch.full((2, 3), 0.5))

    def test_distance_is_the_mean_square_and_trains_the_student_only(self):
        student, teacher = (torch.randn(2, 3, 4, 5, requires_grad=True) for _ in range(2))
        out = HeatmapOutput('x').distances([student], [teacher])
        want = ((student - teacher) ** 2).sum((2, 3)) / 20
        torch.testing.assert_close(out, want)
        out.sum().backward()
        assert student.grad is not None and teacher.grad is None


class TestLogits:
    def test_a_gaussian_target_has_confidence_one(self):
        y, x = np.mgrid[:32, :24]
        gaussian = np.exp(-((x - 9) ** 2 + (y - 20) ** 2) / (2 * 1.5**2))
        labels = LogitOutput(['x']).pseudo_labels([torch.tensor(np.log(gaussian + 1e-9)).expand(1, 1, 32, 24)])
        assert labels.confidence.item() == pytest.approx(1, abs=0.02)
        assert labels.position[0, 0].tolist() == pytest.approx([9.5 / 24, 20.5 / 32])
        assert LogitOutput(['x']).pseudo_labels([torch.zeros(1, 1, 32, 24)]).confidence.item() < 0.02

    def test_classes_of_x_and_y(self):
        x, y = torch.full((1, 1, 20), -9.0), torch.full((1, 1, 40), 0.0)
        x[..., 4], y[..., 30] = 9.0, 1.0
        labels = LogitOutput(['x', 'y'], beta=2.0).pseudo_labels([x, y])
        assert labels.position[0, 0].tolist() == pytest.approx([4.5 / 20, 30.5 / 40])
        share = np.exp(2) / (np.exp(2) + 39)
        assert labels.confidence.item() == pytest.approx(share * 1.5 * (2 * np.pi) ** 0.5, rel=1e-4)

    @pytest.mark.parametrize('shape', [(4, 5), (7,)])
    def test_distance_is_the_divergence_of_the_softmaxes(self, shape):
        student, teacher = (torch.randn(2, 3, *shape, requires_grad=True) for _ in range(2))
        out = LogitOutput(['x'], beta=3.0).distances([student], [teacher])
        p, q = (np.exp(3 * t.detach().numpy().reshape(2, 3, -1).astype(float)) for t in (teacher, student))
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
        np.testing.assert_allclose(out.detach(), (p * np.log(p / q)).sum(-1), rtol=1e-4)
        out.sum().backward()
        assert student.grad.abs().sum() > 0 and teacher.grad is None


def test_choose_takes_each_joint_from_its_teacher():
    first = [torch.ones(2, 3, 4, 5), torch.ones(2, 3, 7)]
    use = torch.tensor([[True, False, True], [False, False, True]])
    for out in choose(first, [torch.zeros_like(t) for t in first], use):
        torch.testing.assert_close(out.flatten(2).mean(-1), use.float())
        torch.testing.assert_close(out.flatten(2).std(-1), torch.zeros(2, 3))


def test_similarity_is_cocos():
    first, second = torch.rand(2, 3, 2), torch.rand(2, 3, 2)
    boxes, crops = torch.tensor([[30.0, 80.0], [100.0, 50.0]]), torch.tensor([[75.0, 100.0], [125.0, 166.0]])
    sigmas = torch.tensor([0.05, 0.08, 0.1])
    out = similarity(first, second, boxes, crops, sigmas)
    for b in range(2):
        for k in range(3):
            dx, dy = ((first[b, k] - second[b, k]) * crops[b]).tolist()
            area = 0.53 * boxes[b, 0].item() * boxes[b, 1].item()
            want = np.exp(-(dx**2 + dy**2) / (2 * sigmas[k].item()) ** 2 / (2 * area))
            assert out[b, k].item() == pytest.approx(want, rel=1e-4)
