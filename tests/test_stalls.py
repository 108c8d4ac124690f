"""A training step during which the host never waits for the device.

Without a GPU an operator shows that it would wait: it hands a number to the host, its output's size depends on
numbers, or it takes a list that would have to travel first.
"""

import traceback
from unittest import mock

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement, InstanceData
from mmpose.models.heads.coord_cls_heads import rtmcc_head
from mmpose.registry import MODELS
from test_configs import load
from test_estimators import ALL_STAGES, PREPROCESSOR, build, cpn_pairs, head_with_lsbn, model_cfg, pairs
from test_teachers import boxed_pairs, with_teacher
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data._utils.pin_memory import pin_memory

from exlpose_mm.datasets.collate import stack_views
from exlpose_mm.models.transfer import select, to_device
from exlpose_mm.views import MOMENTUM_VIEW

ATEN = torch.ops.aten
TO_THE_HOST = {
    ATEN._local_scalar_dense,
    ATEN.nonzero,
    ATEN.masked_select,
    ATEN.unique_dim,
    ATEN._unique2,
    ATEN.repeat_interleave,
}
BY_INDEX = {ATEN.index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_}
METHODS = ('cpu', 'numpy', 'tolist', '__array__')
ALLOWED = {
    # Pinned, so that nobody waits.
    'exlpose_mm/models/transfer.py': ('to_device',),
    # PCK of MMPose's own heads; train_cfg=dict(compute_acc=False) leaves the first one out.
    'mmpose/models/heads/heatmap_heads/heatmap_head.py': ('loss',),
    'mmpose/models/heads/coord_cls_heads/rtmcc_head.py': ('loss',),
}


class Stall(AssertionError):
    """The host would wait."""


class NoStalls(TorchDispatchMode):
    """Raises where the host would wait for a GPU."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        packet = operator.overloadpacket
        if packet in TO_THE_HOST or packet in BY_INDEX or packet is ATEN.lift_fresh and args[0].dim():
            check(str(packet))
        return operator(*args, **(kwargs or {}))

    def __enter__(self):
        self.patches = [mock.patch.object(torch.Tensor, name, self.guarded(name)) for name in METHODS]
        for patch in self.patches:
            patch.start()
        return super().__enter__()

    def __exit__(self, *args):
        for patch in self.patches:
            patch.stop()
        return super().__exit__(*args)

    @staticmethod
    def guarded(name):
        method = getattr(torch.Tensor, name)

        def call(tensor, *args, **kwargs):
            check(name)
            return method(tensor, *args, **kwargs)

        return call


def check(what):
    stack = traceback.extract_stack()
    if not any(
        frame.filename.endswith(file) and frame.name in names for frame in stack for file, names in ALLOWED.items()
    ):
        frame = next(
            frame
            for frame in reversed(stack)
            if '/torch/' not in frame.filename and frame.name not in ('check', 'call', '__torch_dispatch__')
        )
        raise Stall(f'{what} at {frame.filename}:{frame.lineno} {frame.line}')


class TestTheFinder:
    @pytest.mark.parametrize(
        'stall',
        [
            lambda x: x.sum().item(),
            lambda x: float(x[0]),
            lambda x: 1 if x.sum() else 0,
            lambda x: x[x > 0],
            lambda x: x[[0, 1]],
            lambda x: x.nonzero(),
            lambda x: torch.tensor([1.0, 2.0]) + x,
            lambda x: x.tolist(),
            lambda x: x.cpu(),
            lambda x: x.numpy(),
            lambda x: x.__setitem__([0], 1.0),
        ],
    )
    def test_it_finds(self, stall):
        with pytest.raises(Stall, match='at .*test_stalls'), NoStalls():
            stall(torch.ones(2))

    def test_it_leaves_alone(self):
        with NoStalls():
            x = torch.ones(3)
            x[1:] = 2.0
            rows = select(x, [0, 2])
        assert rows.tolist() == [1.0, 2.0] and x.tolist() == [1.0, 2.0, 2.0]

    def test_it_is_gone_afterwards(self):
        with NoStalls():
            pass
        assert torch.ones(1).cpu().numpy().tolist() == [1.0]


def swapped(**kwargs):
    """With the channels in another order than the images', as our configs have it."""
    return {
        **PREPROCESSOR,
        **{name: dict(PREPROCESSOR[name], bgr_to_rgb=True) for name in ('low_light', 'well_lit')},
        **kwargs,
    }


def exlpose():
    return build(data_preprocessor=swapped()), pairs()


def features():
    teacher = dict(taps=['layer2', 'layer4'], loss=dict(type='FeatureLoss'))
    return build(data_preprocessor=swapped(), head={**model_cfg()['head'], 'well_lit_teacher': teacher}), pairs()


def cpn():
    head = head_with_lsbn(norm_cfg=dict(type='BN'))
    head.update(well_lit_teacher=model_cfg()['head']['well_lit_teacher'])
    return build(data_preprocessor=swapped(), backbone=ALL_STAGES, head=head), cpn_pairs()


def cpn_from_joints():
    """The head draws its targets."""
    head = head_with_lsbn(decoder=dict(type='CPNHeatmap', input_size=(64, 64), heatmap_size=(16, 16)))
    data = pairs()
    for one in data['data_samples']:
        del one.gt_fields
        one.gt_instance_labels.keypoint_cells = torch.randint(0, 2, (1, 14, 4), dtype=torch.int32)
    return build(data_preprocessor=swapped(), backbone=ALL_STAGES, head=head), data


def without_lsbn():
    backbone = {**model_cfg()['backbone'], 'norm_cfg': dict(type='BN')}
    return build(data_preprocessor=swapped(), backbone=backbone), pairs()


def adversary():
    head = {**model_cfg()['head'], 'adversary': dict(type='DomainAdversarialLoss', in_channels=64)}
    return build(data_preprocessor=swapped(), head=head), pairs()


def momentum():
    data = boxed_pairs()
    data['inputs'][MOMENTUM_VIEW] = [image.flip(2) for image in data['inputs']['low_light']]
    return with_teacher(), data


def unpaired():
    """A pair, a dark image without labels, and a bright one with."""
    data = boxed_pairs(4)
    for i, (lighting, labelled) in enumerate(
        [
            (('low_light', 'well_lit'), ('well_lit',)),
            ('low_light', ()),
            ('well_lit', ('well_lit',)),
            (('low_light', 'well_lit'), ('low_light', 'well_lit')),
        ]
    ):
        data['data_samples'][i].set_metainfo(dict(lighting=lighting, labelled=labelled))
        for name, images in data['inputs'].items():
            images[i] = images[i] if name in lighting else None
    return with_teacher(), data


def baseline():
    torch.manual_seed(0)
    cfg = model_cfg()
    model = MODELS.build(
        dict(
            type='TopdownPoseEstimator',
            backbone={**cfg['backbone'], 'norm_cfg': dict(type='BN')},
            head=cfg['head']['head'],
            data_preprocessor=swapped(merge=('low_light', 'well_lit')),
        )
    )
    return model, pairs()


def simcc():
    data = pairs()
    for one in data['data_samples']:
        one.gt_instance_labels = InstanceData(
            keypoint_weights=torch.ones(1, 14),
            keypoint_x_labels=torch.rand(1, 14, 128),
            keypoint_y_labels=torch.rand(1, 14, 128),
        )
    head = dict(
        type='RTMCCHead',
        in_channels=64,
        out_channels=14,
        input_size=(64, 64),
        in_featuremap_size=(2, 2),
        simcc_split_ratio=2.0,
        final_layer_kernel_size=1,
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
        loss=dict(type='KLDiscretLoss', beta=10.0, use_target_weight=True),
        decoder=dict(type='SimCCLabel', input_size=(64, 64), sigma=2.0, simcc_split_ratio=2.0),
    )
    return build(data_preprocessor=swapped(), head=dict(type='DualTeacherHead', head=head)), data


KINDS = [exlpose, features, cpn, cpn_from_joints, without_lsbn, adversary, momentum, unpaired, baseline, simcc]


def step(model, data, wrapper):
    """What comes after the transfer of the batch."""
    wrapper.update_params(model.parse_losses(model(**data, mode='loss'))[0])
    if hasattr(model, 'momentum_teacher') and model.momentum_teacher:
        model.momentum_teacher.update(model.network)


@pytest.mark.parametrize('make', KINDS)
def test_a_step_never_waits(make):
    model, data = make()
    model.train()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9))
    step(model, model.data_preprocessor(data, True), wrapper)
    before = [p.detach().clone() for p in model.backbone.parameters()]
    with NoStalls():
        step(model, model.data_preprocessor(data, True), wrapper)
    assert not any(map(torch.equal, before, model.backbone.parameters()))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('make', KINDS)
def test_a_step_never_waits_for_a_gpu(make, monkeypatch):
    monkeypatch.setattr(rtmcc_head, 'to_numpy', lambda tensors: tensors)
    monkeypatch.setattr(rtmcc_head, 'simcc_pck_accuracy', lambda **kwargs: (None, torch.zeros((), device='cuda'), None))
    model, data = make()
    model.cuda().train().train_cfg = dict(compute_acc=False)
    wrapper = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-3, fused=True))
    batch = model.data_preprocessor(data, True)
    step(model, batch, wrapper)
    torch.cuda.set_sync_debug_mode('error')
    try:
        step(model, batch, wrapper)
    finally:
        torch.cuda.set_sync_debug_mode('default')


def stacked(data):
    """As a loader's worker does."""
    return stack_views(
        [
            dict(inputs={name: images[i] for name, images in data['inputs'].items()}, data_samples=one)
            for i, one in enumerate(data['data_samples'])
        ]
    )


@pytest.mark.parametrize('collate', [lambda data: data, stacked])
@pytest.mark.parametrize('make', KINDS)
def test_each_view_and_each_target_is_moved_once(make, collate):
    model, data = make()
    data = collate(data)
    model.to('meta')  # another device, on any machine
    moved, to = [], torch.Tensor.to

    def counted(tensor, *args, **kwargs):
        moved.extend([tensor.dim()] * (tensor.device.type == 'cpu'))
        return to(tensor, *args, **kwargs)

    with mock.patch.object(torch.Tensor, 'to', counted):
        batch = model.data_preprocessor(data, True)
    targets = [tensor for one in data['data_samples'] for tensor in tensors_of(one)]
    assert moved == [4] * len(data['inputs']) + [tensor.dim() for tensor in targets]
    assert all(tensor.is_meta for one in batch['data_samples'] for tensor in tensors_of(one))


def test_all_that_is_moved_can_be_pinned(exlpose_root, monkeypatch):
    """What a worker made, of two views and four levels of targets."""
    config = load('exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py', exlpose_root, monkeypatch)
    config.train_dataloader.update(batch_size=2, num_workers=1)
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    batch = next(iter(loader))
    before = [tensor.clone() for one in batch['data_samples'] for tensor in tensors_of(one)]
    pinned = []

    def pin(tensor, *_):
        pinned.append(tensor.clone())  # clones, so that what was left as it was is not among them
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, 'pin_memory', pin)
    batch = pin_memory(batch)
    after = [tensor for one in batch['data_samples'] for tensor in tensors_of(one)]
    assert loader.pin_memory and len(before) >= 2 * 5 and all(map(torch.equal, before, after))
    assert {id(tensor) for tensor in (*batch['inputs'].values(), *after)} == set(map(id, pinned))
    monkeypatch.undo()
    assert all(one.img_path and len(one.gt_instances.bboxes) == 1 for one in batch['data_samples'])


def tensors_of(node):
    """Of a sample and what is in it, in its order."""
    if isinstance(node, BaseDataElement):
        node = node.values()
    if isinstance(node, torch.Tensor):
        return [node]
    return [tensor for value in node for tensor in tensors_of(value)] if isinstance(node, (list, tuple, set)) else []


def test_numbers_go_to_the_device_as_they_are():
    like = torch.ones(1)
    assert to_device([2, 0], like, torch.long).tolist() == [2, 0]
    assert to_device([], like, torch.long).dtype == torch.long
