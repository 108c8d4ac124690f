"""How much passes in a second: training steps, loaders, both together, and tests; beside two yardsticks.

Precision, memory layout and optimiser are the config's. On a GPU steps are timed by its events, and nobody waits
between them; all else by the clock.
"""

import copy
import os.path as osp
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpose.registry import DATASETS
from ratios import Stepper, looped_gram, peak_memory, peak_of
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.data._utils.pin_memory import pin_memory

from exlpose_mm.apis.deployment import plain_config
from exlpose_mm.datasets.collate import stack_views
from exlpose_mm.datasets.crop_cache import build as build_cache
from exlpose_mm.engine.building import build_dataset, build_model, strip_init_cfg
from exlpose_mm.engine.hooks.acceleration import FloatHeadHook
from exlpose_mm.lighting import LIGHTINGS
from exlpose_mm.writing import markdown_table

PEOPLE, EPOCHS = 11400, 32
"""Of the paper's training: people in pairs, and how often each is seen."""
STEP, PLAIN, OFFICIAL = 'step', 'two plain steps', "the official code's step"
Mark = Any
"""Seconds of the clock, or an event of a GPU."""


@dataclass(frozen=True)
class Rate:
    """A measured figure.

    Args:
        name (str): Of what.
        median, low, high (float): Of the repeats.
        unit (str): As ``pairs/s``.
    """

    name: str
    median: float
    low: float
    high: float
    unit: str

    @classmethod
    def of(cls, name: str, values: Sequence[float] | np.ndarray, unit: str) -> 'Rate':
        """The figure of these repeats."""
        return cls(name, float(np.median(values)), float(np.min(values)), float(np.max(values)), unit)


class ConfiguredStepper(Stepper):
    """Training steps as the config's run takes them: its optimiser, precision and memory layout.

    The batch is as a loader hands it over: stacked, and in pinned memory if there is a GPU.
    """

    def __init__(self, config: Config, data: dict, device: str) -> None:
        super().__init__(config, data, device)
        if device.startswith('cuda'):
            self.data = pin_memory(data)
        if any(hook and hook.get('type') == 'ChannelsLastHook' for hook in config.get('default_hooks', {}).values()):
            self.model.to(memory_format=torch.channels_last)
        with DefaultScope.overwrite_default_scope('mmpose'):
            self.wrapper = build_optim_wrapper(self.model, copy.deepcopy(config.optim_wrapper))
        FloatHeadHook().before_train(SimpleNamespace(model=self.model, optim_wrapper=self.wrapper))

    def step(self) -> None:
        self.model.train_step(self.data, self.wrapper)
        if getattr(self.model, 'momentum_teacher', None) is not None:
            self.model.momentum_teacher.update(self.model.network)


class PlainSteps(ConfiguredStepper):
    """The same network and batch without lightings and teachers: a step for each of a pair's images."""

    def __init__(self, config: Config, data: dict, device: str) -> None:
        plain = plain_config(config)
        plain.model.data_preprocessor = config.model.data_preprocessor
        plain.update(optim_wrapper=config.optim_wrapper, default_hooks=config.get('default_hooks', {}))
        super().__init__(plain, data, device)

    def step(self) -> None:
        batch = self.model.data_preprocessor(self.data, True)
        for name in LIGHTINGS:
            with self.wrapper.optim_context(self.model):
                losses = self.model(batch['inputs'][name], batch['data_samples'], mode='loss')
            self.wrapper.update_params(self.model.parse_losses(losses)[0])


class OfficialSteps(Stepper):
    """The step as the official code is described, of the same network.

    In fp32 with the channels first, an ordinary Adam, ``DataParallel`` on one device, images and targets from memory
    that is not pinned, one Gram matrix after the other, and the loss read after each step. TF32 is torch's default.
    """

    def __init__(self, config: Config, data: dict, device: str) -> None:
        super().__init__(config, data, device)
        if self.model.head.well_lit_teacher:
            teacher = self.model.head.well_lit_teacher
            teacher.loss_module = _LoopedGram(teacher.loss_module.loss_weight)
        cuda = device.startswith('cuda')
        self.parallel = torch.nn.DataParallel(self.model, [torch.device(device).index or 0]) if cuda else self.model

    def _backward(self, batch: dict) -> None:
        total = self.model.parse_losses(self.parallel(**batch, mode='loss'))[0]
        total.backward()
        total.item()


class _LoopedGram(torch.nn.Module):
    def __init__(self, loss_weight: float) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, low_light: Sequence[Tensor], well_lit: Sequence[Tensor]) -> list[Tensor]:
        losses = looped_gram(low_light, well_lit)  # of all samples of the first layer, then of the next
        size = len(low_light[0])
        return [self.loss_weight * sum(losses[i + 1 : i + size], start=losses[i]) for i in range(0, len(losses), size)]


STEPS: dict[str, type[Stepper]] = {STEP: ConfiguredStepper, PLAIN: PlainSteps, OFFICIAL: OfficialSteps}


def load_stacked(config: Config, size: int) -> dict:
    """The first samples of the training data, again and again if there are too few, as a loader hands them over."""
    dataset = build_dataset(config)
    return stack_views([dataset[i % len(dataset)] for i in range(size)])


def durations(task: Callable[[], object], steps: int, device: str, warm_up: int = 10) -> list[float]:
    """Seconds of each of some runs, which may overlap on a GPU, after some that do not count."""
    for _ in range(warm_up):
        task()
    marks: list[Mark] = [_mark(device)]
    for _ in range(steps):
        task()
        marks.append(_mark(device))
    if not device.startswith('cuda'):
        return np.diff(marks).tolist()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1000 for start, end in zip(marks, marks[1:])]


def _mark(device: str) -> Mark:
    if not device.startswith('cuda'):
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def step_rates(config: Config, batch: int, steps: int, device: str) -> Iterator[Rate]:
    """Pairs per second of the step and of its yardsticks, the step's memory, and how busy it keeps the device."""
    data, cuda = load_stacked(config, batch), device.startswith('cuda')
    for name, kind in STEPS.items():
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        stepper = kind(config, data, device)
        seconds = durations(stepper.step, steps, device)
        yield Rate.of(f'{name}, batch {batch}', batch / np.array(seconds), 'pairs/s')
        if name == STEP:
            # Without a GPU a process' memory is all that it ever used.
            memory = peak_of(device) if cuda else peak_memory(config, batch, device, ConfiguredStepper)
            yield Rate.of(f'memory of the step, batch {batch}', [memory], 'MB')
            yield busy_share(stepper.step, min(steps, 5), device, f'device busy in the step, batch {batch}')
        del stepper


def busy_share(task: Callable[[], object], steps: int, device: str, name: str) -> Rate:
    """The share of the time in which the device, or without a GPU torch, does something."""
    cuda = device.startswith('cuda')
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        start = time.perf_counter()
        for _ in range(steps):
            task()
        if cuda:
            torch.cuda.synchronize()
        elapsed = time.perf_counter() - start
    wanted = torch.autograd.DeviceType.CUDA if cuda else torch.autograd.DeviceType.CPU
    spans = [
        (event.time_range.start, event.time_range.end) for event in profiler.events() if event.device_type == wanted
    ]
    return Rate.of(name, [100 * covered(spans) / 1e6 / elapsed], '%')


def covered(spans: Sequence[tuple[float, float]]) -> float:
    """How much of a line these (start, end) cover, counting twice nothing."""
    total, reached = 0.0, -np.inf
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def endless(config: Config, batch: int, workers: int) -> Config:
    """A copy whose training data never ends, by batches of this size and this many workers."""
    config = copy.deepcopy(config)
    config.train_dataloader.update(
        batch_size=batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        sampler=dict(type='InfiniteSampler', shuffle=True),
    )
    return config


def with_cache(config: Config, folder: str) -> Config:
    """A copy that uses a crop cache, which is made in the folder."""
    config, path = copy.deepcopy(config), osp.join(folder, 'crops.lmdb')
    config.train_dataloader.dataset.crop_cache = None
    build_cache(build_dataset(config), path)
    config.train_dataloader.dataset.crop_cache = path
    return config


def loader_rate(config: Config, batch: int, workers: int, batches: int, source: str) -> Rate:
    """Pairs per second of the loader alone, after every worker has loaded a batch."""
    with DefaultScope.overwrite_default_scope('mmpose'):
        loader = iter(Runner.build_dataloader(endless(config, batch, workers).train_dataloader, seed=0))
    seconds = durations(lambda: next(loader), batches, 'cpu', warm_up=workers + 1)
    # Batches of several workers come in bursts: the rate is that of all, its spread that of tenths.
    tenths = [np.mean(part) for part in np.array_split(seconds, min(10, batches))]
    median, high, low = (batch / np.array([np.mean(seconds), np.min(tenths), np.max(tenths)])).tolist()
    return Rate(f'loader, {source}, {workers} workers', median, low, high, 'pairs/s')


class ClockHook(Hook):
    """Notes when each iteration has ended, on a GPU too.

    Args:
        every (int): Iterations between two notes, for each of which the host waits for the GPU.

    Attributes:
        notes (list[float]): In seconds.
    """

    priority = 'LOWEST'

    def __init__(self, every: int) -> None:
        self.every = every
        self.notes: list[float] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if self.every_n_train_iters(runner, self.every):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.notes.append(time.perf_counter())


def loop_rate(config: Config, batch: int, workers: int, iterations: int, work_dir: str) -> Rate:
    """Pairs per second of a run with its loader and hooks; its first tenth is left out.

    The device is that which mmengine takes: a GPU if there is one.
    """
    clock = ClockHook(max(1, iterations // 10))
    runner = Runner.from_cfg(loop_config(config, batch, workers, iterations, work_dir))
    runner.register_hook(clock)
    runner.train()
    rates = batch * clock.every / np.diff(clock.notes)
    return Rate(
        f'loop, batch {batch}, {workers} workers',
        float(len(rates) / (1 / rates).sum()),
        float(rates.min()),
        float(rates.max()),
        'pairs/s',
    )


def loop_config(config: Config, batch: int, workers: int, iterations: int, work_dir: str) -> Config:
    """A copy that trains for some iterations, from random weights, without validation and checkpoints."""
    config = endless(config, batch, workers)
    strip_init_cfg(config.model)
    config.update({f'{split}_{part}': None for split in ('val', 'test') for part in ('cfg', 'dataloader', 'evaluator')})
    config.train_cfg = dict(by_epoch=False, max_iters=iterations)
    config.update(
        load_from=None,
        param_scheduler=None,
        work_dir=work_dir,
        default_scope='mmpose',
        log_level='WARNING',
        experiment_name=f'loop{batch}-{workers}',
    )
    config.default_hooks.checkpoint = None
    config.custom_hooks = [hook for hook in config.get('custom_hooks', []) if hook.type != 'InitialValHook']
    return config


def prediction_rate(config: Config, batch: int, steps: int, device: str) -> Rate:
    """Images per second of a test from loaded images on, as the config has it: with a flip, and decoded."""
    with DefaultScope.overwrite_default_scope('mmpose'):
        dataset = DATASETS.build(copy.deepcopy(config.test_dataloader.dataset))
    data = stack_views([dataset[i % len(dataset)] for i in range(batch)])
    model = build_model(config.model).to(device).eval()
    with torch.no_grad():
        seconds = durations(lambda: model.test_step(copy.deepcopy(data)), steps, device, warm_up=3)
    return Rate.of(f'test, batch {batch}', batch / np.array(seconds), 'images/s')


def reckoned_minutes(loop: Rate) -> Rate:
    """How long the paper's training takes at a loop's rate, without its validations."""
    median, low, high = (PEOPLE * EPOCHS / rate / 60 for rate in (loop.median, loop.high, loop.low))
    return Rate(f"the paper's training, reckoned from the {loop.name}", median, low, high, 'min')


def measure(
    config: Config,
    folder: str,
    batches: Sequence[int],
    workers: Sequence[int],
    steps: int,
    iterations: int,
    device: str,
) -> Iterator[Rate]:
    """All of it, each figure as soon as it is known.

    Args:
        config (Config): Of a model with LSBN and a ``DualTeacherHead``, and its paired data.
        folder (str): For the crop cache and the logs of runs.
        batches (Sequence[int]): Pairs of the steps and the loops; of the loader alone and of tests, the first.
        workers (Sequence[int]): Of the loader; the loops take the last.
        steps (int): Repeats of steps and of batches of the loader.
        iterations (int): Of a loop.
        device (str): Of steps and tests.

    Raises:
        ValueError: If a number is too small to tell a rate.
    """
    if min(*batches, steps) < 1 or iterations < 2:
        raise ValueError(
            f'batches {list(batches)}, {steps} steps and {iterations} iterations: take at least 1, 1 and 2'
        )
    cached = with_cache(config, folder)
    for batch in batches:
        yield from step_rates(cached, batch, steps, device)
    yield prediction_rate(config, batches[0], steps, device)
    cv2.setNumThreads(0)  # as in a run, whose workers would be in each other's way
    for batch in batches:
        yield (loop := loop_rate(cached, batch, workers[-1], iterations, osp.join(folder, str(batch))))
        yield reckoned_minutes(loop)
    for source, data in (('cache', cached), ('frames', config)):
        for count in workers:
            yield loader_rate(data, batches[0], count, steps, source)


def machine(device: str) -> str:
    """What it was measured on: the card or processor, and versions."""
    chip = torch.cuda.get_device_name(device) if device.startswith('cuda') else platform.processor()
    return (
        f'{chip or platform.machine()}, torch {torch.__version__}, CUDA {torch.version.cuda}, '
        f'Python {platform.python_version()}'
    )


def text_table(rates: Sequence[Rate]) -> str:
    """A Markdown table."""
    rows = [[r.name, f'{r.median:.4g}', f'{r.low:.4g} to {r.high:.4g}', r.unit] for r in rates]
    return markdown_table([['what', 'median', 'spread', 'unit'], *rows])


def as_json(rates: Sequence[Rate]) -> list[dict]:
    """The same for a file."""
    return [asdict(rate) for rate in rates]
