"""What only a GPU can show: agreement with the CPU, loss scalers, processes, determinism."""

import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel, convert_sync_batchnorm
from mmengine.optim import AmpOptimWrapper
from mmengine.registry import DefaultScope
from mmpose.utils import register_all_modules
from test_configs import ROOT
from test_distributed import Runner, everything, join, model_of, portion
from test_estimators import build, pairs, sample
from test_hooks import BAD, Multiplied, Slippery, train
from test_onnx_export import trained
from test_recovery import runner_of, small  # noqa: F401 (fixture)
from test_seeding import AnyRunner
from test_stalls import KINDS
from test_teachers import with_teacher
from torch.nn.functional import dropout

from exlpose_mm import LIGHTINGS, FiniteLossHook, ReseedHook
from exlpose_mm.apis.onnx_export import export, load_plain
from exlpose_mm.camera.simulation import darken
from exlpose_mm.datasets.making.drawn import write_dataset
from exlpose_mm.engine.hooks.finite_loss import NonFiniteLossError
from exlpose_mm.evaluation.comparison import read_results

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')]
STEPS = 2


@pytest.fixture(autouse=True)
def scope_of_each_test():
    """Runners leave theirs behind."""
    with DefaultScope.overwrite_default_scope('mmpose'):
        yield


@pytest.fixture(autouse=True)
def full_precision():
    kept = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    without_tf32()
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = kept


def without_tf32():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False


def losses_and_gradients(make, device):
    model, data = make()
    model.to(device).train()
    if getattr(model, 'momentum_teacher', None) is not None:
        model.momentum_teacher.update(model.network)
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    numbers = {name: value for name, value in losses.items() if isinstance(value, torch.Tensor)}
    numbers.update({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    return {name: value.detach().cpu() for name, value in numbers.items()}


@pytest.mark.parametrize('make', KINDS)
def test_a_step_agrees_with_the_cpus(make):
    ours, theirs = (losses_and_gradients(make, device) for device in ('cuda', 'cpu'))
    assert list(ours) == list(theirs)
    # Some gradients are zero but for rounding: of a bias before a softmax over the map or before a batch norm.
    rounding = 1e-7 * max(float(value.abs().max()) for name, value in theirs.items() if value.dim())
    for name, value in theirs.items():
        torch.testing.assert_close(
            ours[name], value, rtol=1e-3, atol=1e-3 * float(value.abs().max()) + rounding, msg=name
        )


@torch.no_grad()
def test_predictions_agree_with_the_cpus():
    images = [torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(i)) * 255 for i in range(4)]
    poses = [
        [
            pose.pred_instances
            for pose in build()
            .to(device)
            .eval()
            .test_step(dict(inputs=images, data_samples=[sample(LIGHTINGS[i % 2]) for i in range(4)]))
        ]
        for device in ('cuda', 'cpu')
    ]
    for ours, theirs in zip(*poses):
        assert abs(ours.keypoints - theirs.keypoints).max() < 0.05
        assert abs(ours.keypoint_scores - theirs.keypoint_scores).max() < 1e-3


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_it_learns_with_a_loss_scaler(dtype, fused):
    model = build(train_cfg=dict(compute_acc=False)).cuda().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    wrapper, losses = AmpOptimWrapper(optimizer=optimizer, dtype=dtype), []
    for _ in range(30):
        losses.append(model.train_step(pairs(), wrapper)['low_light.loss_kpt'].item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.isfinite().all() for p in model.parameters())


class TestFiniteLoss:
    @pytest.mark.parametrize('fused', [False, True])
    @pytest.mark.parametrize('bad', BAD)
    @pytest.mark.parametrize('kind', ['OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper'])
    def test_a_step_is_left_out_and_counted(self, kind, bad, fused, tmp_path):
        optimizer, weights = dict(type='Adam', lr=0.25, fused=fused), []
        for name, factors in dict(bad=[1.0, bad, 1.0], good=[1.0, 1.0]).items():
            hook = FiniteLossHook('skip')
            runner = train(tmp_path / name, factors, hook, Slippery(), type=kind, optimizer=optimizer)
            weights.append(runner.model.weight.item())
            assert hook.skipped == (name == 'bad')
        assert weights[0] == weights[1]

    @pytest.mark.parametrize('kind', ['OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper'])
    def test_a_loss_that_is_not_finite_stops(self, kind, tmp_path):
        model = Multiplied()
        with pytest.raises(NonFiniteLossError, match=r'iteration 2: the loss is nan, here .*: 1\.png, well1\.png$'):
            train(tmp_path, [1.0, BAD[0]], FiniteLossHook(), model, type=kind)
        assert model.weight.item() == pytest.approx(0.5)


def train_deterministically(_rank, folder):
    """In a process that has not used cuBLAS yet."""
    register_all_modules()
    torch.use_deterministic_algorithms(True)
    ReseedHook().before_run(None)
    with DefaultScope.overwrite_default_scope('mmpose'):
        weights = []
        for _ in range(2):
            model, runner = with_teacher().cuda(), AnyRunner()
            model.backbone.layer1.register_forward_hook(lambda module, _, out: dropout(out, 0.2, module.training))
            run = Runner(model)
            for runner.iter in range(STEPS):
                ReseedHook().before_train_iter(runner, 0)
                run.train([portion(0)])
            weights.append({name: p.detach().cpu() for name, p in model.named_parameters()})
    torch.save(weights, f'{folder}/weights.pt')


def test_deterministic_runs_have_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    mp.spawn(train_deterministically, args=(str(tmp_path),), nprocs=1)
    first, second = torch.load(tmp_path / 'weights.pt', weights_only=True)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def train_in_processes(rank: int, port: int, folder: str, backend: str, processes: int, sync_bn: bool) -> None:
    torch.cuda.set_device(rank % torch.cuda.device_count())
    without_tf32()
    join(rank, port, backend, processes)
    with DefaultScope.overwrite_default_scope('mmpose'):
        model = convert_sync_batchnorm(build()) if sync_bn else model_of('exlpose')
        model = MMDistributedDataParallel(model.cuda(), device_ids=[torch.cuda.current_device()])
    Runner(model).train([everything() if processes == 1 else portion(rank)] * STEPS)
    torch.save(model.module.state_dict(), f'{folder}/{rank}.pt')
    dist.destroy_process_group()


@pytest.mark.parametrize('sync_bn', [False, True])
@pytest.mark.parametrize('backend, processes', [('nccl', 1), ('nccl', 2), ('gloo', 2)])
def test_processes_are_one_with_the_whole_batch(backend, processes, sync_bn, tmp_path):
    """With SyncBN also in the statistics that batch norms learn: of four pairs, as those of two magnify rounding."""
    if backend == 'nccl' and processes > torch.cuda.device_count():
        pytest.skip('NCCL takes one process for each GPU')
    port = 20000 + (os.getpid() + 7 * processes + 31 * sync_bn + len(backend)) % 20000
    mp.spawn(train_in_processes, args=(port, str(tmp_path), backend, processes, sync_bn), nprocs=processes)
    alone = (build() if sync_bn else model_of('exlpose')).cuda()
    Runner(alone).train([everything()] * STEPS)
    for rank in range(processes):
        together = torch.load(tmp_path / f'{rank}.pt', map_location='cuda', weights_only=True)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(together[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_a_gpus_checkpoint_becomes_an_onnx_file(exlpose_root, tmp_path, monkeypatch):
    config, model, _ = trained(
        'exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py', exlpose_root, tmp_path, monkeypatch
    )
    torch.save(dict(state_dict=model.cuda().state_dict()), tmp_path / 'gpu.pth')
    export(load_plain(config, tmp_path / 'gpu.pth'), tmp_path / 'model.onnx', (192, 256), repeats=1)


def test_an_epoch_is_worth_as_much_as_on_the_cpu(tmp_path):
    """Of the drawn data; rows of AP to within 0.3 and of mean OKS to within 1, percent."""
    write_dataset(tmp_path / 'data', 320, 60, 0, (320, 240), darken)
    tables = []
    for devices in ('', os.environ.get('CUDA_VISIBLE_DEVICES', '0')):
        work_dir = tmp_path / f'on {devices}'
        subprocess.run(
            [
                sys.executable,
                'tools/train.py',
                'configs/demo/exlpose_r18_1xb16-10e_demo-128x96.py',
                '--work-dir',
                work_dir,
            ]
            + ['--cfg-options', f'data_root={tmp_path / "data"}', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1'],
            cwd=ROOT,
            env={**os.environ, 'CUDA_VISIBLE_DEVICES': devices},
            check=True,
        )
        tables.append([*read_results([str(work_dir)]).values()][0].rows)
    ours, theirs = tables
    assert ours.keys() == theirs.keys() >= {'LL-A', 'WL'}
    for row, values in theirs.items():
        assert abs(ours[row]['AP'] - values['AP']) < 0.003 and abs(ours[row]['OKS'] - values['OKS']) < 0.01, row


def test_a_run_goes_on(small, tmp_path):  # noqa: F811
    """On the device, from the last whole checkpoint's weights and moments."""
    runner_of(small, tmp_path).train()
    (tmp_path / 'epoch_3.pth').unlink()
    runner = runner_of(small, tmp_path, resume=True)
    runner.train()
    assert runner.iter == 12
    moments = [value for state in runner.optim_wrapper.optimizer.state.values() for value in state.values()]
    assert {value.device.type for value in moments if value.dim()} == {'cuda'}
    assert all(p.isfinite().all() for p in runner.model.parameters())
