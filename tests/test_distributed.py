"""Two processes on the CPU (gloo): a training step of the paired model under DDP."""
import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmpose.utils import register_all_modules
from test_estimators import build, pairs


def train_one_step(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    dist.init_process_group('gloo', rank=rank, world_size=2)
    torch.set_num_threads(1)
    register_all_modules()
    # A step fails here if a parameter gets no gradient: nothing is marked as unused.
    model = MMDistributedDataParallel(build())
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    data = pairs()
    data['inputs'] = {name: [image + 10 * rank for image in images] for name, images in data['inputs'].items()}
    for _ in range(2):
        model.train_step(data, optimizer)
    torch.save({name: p.detach() for name, p in model.module.named_parameters()}, f'{folder}/{rank}.pt')
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason='torch was built without gloo')
def test_both_processes_end_with_the_same_weights(tmp_path):
    port = 20000 + os.getpid() % 20000
    mp.spawn(train_one_step, args=(port, str(tmp_path)), nprocs=2)
    weights = [torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in range(2)]
    before = dict(build().named_parameters())
    assert any(not torch.equal(weights[0][name], before[name]) for name in before)
    for name in before:
        torch.testing.assert_close(weights[0][name], weights[1][name])
