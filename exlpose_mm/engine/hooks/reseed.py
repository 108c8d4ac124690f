"""Random numbers that belong to an iteration, not to a process; see :mod:`exlpose_mm.datasets.samplers`."""

import os

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS

from exlpose_mm.datasets.samplers import seed_generators


@HOOKS.register_module()
class ReseedHook(Hook):
    """Seeds the generators before every training iteration by (seed, iteration).

    What the model draws (dropout, stochastic depth) in iteration n is so the same after a resume,
    and whatever validation or the loader drew in between. mmengine's checkpoints do not hold the generators.

    With ``randomness = dict(deterministic=True)`` torch refuses matrix products on a GPU unless the environment
    variable ``CUBLAS_WORKSPACE_CONFIG`` is set. Before the first it is set to ``:4096:8``, unless the user has set it.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        if torch.are_deterministic_algorithms_enabled():
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        torch_seed = seed_generators(runner.seed, runner.iter)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(torch_seed)
        if torch.backends.mps.is_available():
            torch.mps.manual_seed(torch_seed)
