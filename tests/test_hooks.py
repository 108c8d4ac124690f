"""InitialValHook in a real runner."""
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from exlpose_mm import InitialValHook


class Model(BaseModel):

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, mode):
        assert self.training == (mode == 'loss')
        return dict(loss=(self.weight - 1).square().sum()) if mode == 'loss' else [self.weight.item()]


class Weight(BaseMetric):

    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        return {'LL-A/AP': results[0], 'other': 0.}


def test_validates_before_training_and_compares_at_the_end(tmp_path):
    loader = DataLoader([dict(inputs=torch.zeros(1))] * 2)
    hook = InitialValHook()
    runner = Runner(
        Model(), str(tmp_path), train_dataloader=loader, val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=2), val_cfg=dict(),
        val_evaluator=Evaluator(Weight()), custom_hooks=[hook],
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.5)), experiment_name=tmp_path.name)
    runner.train()
    assert [metrics['LL-A/AP'] for metrics in hook.history] == [0., 1.]
    log = next(tmp_path.rglob('*.log')).read_text()
    line = next(line for line in log.splitlines() if line.startswith('LL-A/AP'))
    assert line.split() == ['LL-A/AP', '0.0', '100.0']
