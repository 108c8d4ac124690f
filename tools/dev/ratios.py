"""How fast it is: each task against a yardstick that is measured beside it, in turns.

A ratio of two things measured in one run says more than seconds: both saw the same machine in the
same mood. Seconds are printed for orientation.
"""

import copy
import multiprocessing
import os.path as osp
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.fileio import dump
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn
from torch.utils.benchmark import timer

from exlpose_mm.apis.deployment import plain_config
from exlpose_mm.compat.extras import Extra
from exlpose_mm.datasets.crop_cache import build as build_cache
from exlpose_mm.datasets.exlpose import ExLPoseDataset
from exlpose_mm.engine.building import build_dataset, build_model
from exlpose_mm.engine.hooks.acceleration import keep_heap
from exlpose_mm.evaluation.metric import LightingCocoMetric
from exlpose_mm.joints import JOINTS
from exlpose_mm.lighting import LIGHTINGS, lighting, tap
from exlpose_mm.splits import BY_DARKNESS
from exlpose_mm.writing import markdown_table

psutil = Extra('psutil', 'dev')
Task = Callable[[], object]
SAMPLES = 8


@dataclass(frozen=True)
class Ratio:
    """A task's cost over its yardstick's.

    Args:
        name (str): What was compared.
        median, low, high (float): Of the ratios of the single repeats.
        task, yardstick (float): Median cost of each.
        unit (str): Of the costs: s or MB.
    """

    name: str
    median: float
    low: float
    high: float
    task: float
    yardstick: float
    unit: str = 's'

    @classmethod
    def of_memory(cls, name: str, task: float, yardstick: float) -> 'Ratio':
        """Of two costs in MB, each measured once."""
        share = task / yardstick
        return cls(name, share, share, share, task, yardstick, 'MB')


def compare(name: str, task: Task, yardstick: Task, repeats: int = 5) -> Ratio:
    """Time two tasks in turns, after one run of each that does not count."""
    task(), yardstick()
    pairs = np.array([(seconds(task), seconds(yardstick)) for _ in range(repeats)])
    ratios = pairs[:, 0] / pairs[:, 1]
    ours, theirs = np.median(pairs, axis=0).tolist()
    return Ratio(name, float(np.median(ratios)), float(ratios.min()), float(ratios.max()), ours, theirs)


def seconds(task: Task) -> float:
    """Wall time of one run, until the device is done."""
    start = timer()
    task()
    return timer() - start


def sample_costs(config: Config, folder: str, repeats: int) -> list[Ratio]:
    """A paired training sample, without and with a crop cache, against the least that it needs.

    That is decoding its two files and resizing two crops.

    Args:
        config (Config): Of paired training data.
        folder (str): For the cache.
        repeats (int): Of the first samples, :data:`SAMPLES` of them.
    """
    config, path = copy.deepcopy(config), osp.join(folder, 'crops.lmdb')
    config.train_dataloader.dataset.update(crop_cache=None, serialize_data=False, indices=SAMPLES)
    dataset = build_dataset(config)
    build_cache(dataset, path)
    config.train_dataloader.dataset.crop_cache = path
    cached = build_dataset(config)
    size = tuple(config.codec.input_size)
    infos = [dataset.get_data_info(i % len(dataset)) for i in range(SAMPLES)]
    files = [[np.fromfile(info[key], np.uint8) for key in ('img_path', 'well_lit_path')] for info in infos]

    def bare() -> None:
        for info, buffers in zip(infos, files):
            left, top, right, bottom = info['bbox'][0].astype(int).clip(0)
            for buffer in buffers:
                image = np.asarray(cv2.imdecode(buffer, cv2.IMREAD_COLOR))
                crop = image[top : bottom + 1, left : right + 1]
                cv2.resize(crop.astype(np.float32), size)

    yardstick = 'decoding two files and two warps'
    return [
        compare(f'{name} / {yardstick}', partial(_load_samples, data), bare, repeats)
        for name, data in (('paired sample', dataset), ('cached paired sample', cached))
    ]


def _load_samples(data: ExLPoseDataset) -> None:
    for i in range(SAMPLES):
        data[i % len(data)]


def step_costs(config: Config, batch: int, repeats: int, device: str) -> list[Ratio]:
    """The paired step against two plain ones, in time and memory; the style loss against the step and against loops."""
    data = load_batch(config, batch)
    paired = Stepper(config, data, device)
    plain = PlainStepper(config, data, device)
    memory = [peak_memory(config, batch, device, kind) for kind in (Stepper, PlainStepper)]
    results = [
        compare('paired step / two plain steps', paired.step, plain.step, repeats),
        Ratio.of_memory('memory of paired step / plain step', *memory),
    ]
    if paired.model.head.well_lit_teacher:
        features = paired.tapped()
        style = paired.model.head.well_lit_teacher.loss_module
        results += [
            compare('style loss / paired step', partial(backward, style, features), paired.step, repeats),
            compare(
                'style loss / sample by sample',
                partial(backward, style, features),
                partial(backward, looped_gram, features),
                repeats,
            ),
        ]
    return results


def compare_steps(config: Config, other: Config, batch: int, repeats: int, device: str) -> list[Ratio]:
    """One training step of a config against one of another: time and peak memory."""
    steppers = [Stepper(c, load_batch(c, batch), device) for c in (config, other)]
    ours, theirs = (peak_memory(c, batch, device) for c in (config, other))
    return [
        compare('step / other step', steppers[0].step, steppers[1].step, repeats),
        Ratio.of_memory('memory of step / other step', ours, theirs),
    ]


def prediction_costs(config: Config, repeats: int, device: str, images: int = 8) -> list[Ratio]:
    """Prediction by the model as it was trained against the deployed one, MMPose's own of the same network."""
    cfgs = [config.model, plain_config(config).model]
    width, height = config.codec.input_size
    x = torch.rand(images, 3, height, width, device=device)
    trained, deployed = (partial(_predict, build_model(cfg).to(device).eval(), x) for cfg in cfgs)
    memory = [_in_a_process(_peak_of_prediction, cfg, tuple(x.shape), device) for cfg in cfgs]
    return [
        compare('prediction with LSBN / deployed', trained, deployed, repeats),
        Ratio.of_memory('memory of prediction with LSBN / deployed', *memory),
    ]


@torch.no_grad()
def _predict(model: nn.Module, x: Tensor) -> None:
    model(x, None, mode='tensor')


def metric_cost(repeats: int, people: int = 2789) -> Ratio:
    """AP and OKS of LL-N, LL-H, LL-E and LL-A, against pycocotools' evaluation of LL-A's people.

    The people are drawn at random, as many as ExLPose has in LL-A.
    """
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        truth, samples = {}, []
        for row, count in zip(BY_DARKNESS, np.diff(np.linspace(0, people, 4).astype(int))):
            content, predicted = _random_people(row, count, rng)
            truth[row] = osp.join(folder, f'{row}.json')
            dump(content, truth[row])
            samples += predicted
        metric = LightingCocoMetric(truth)
        metric.dataset_meta = ExLPoseDataset(lazy_init=True).metainfo
        metric.process([], samples)
        results = list(metric.results)

        def table() -> None:
            metric.results = list(results)
            with redirect_stdout(StringIO()):
                metric.evaluate(len(results))

        return compare(
            'rows of LL-A / one pass of pycocotools',
            table,
            partial(_pycocotools, samples, metric.dataset_meta['sigmas']),
            repeats,
        )


def _random_people(row: str, count: int, rng: np.random.Generator) -> tuple[dict, list[dict]]:
    """Content of an annotation file, two people an image, and predictions of them."""
    corners, sizes = rng.uniform(0, 900, (count, 2)), rng.uniform(80, 300, (count, 2))
    joints = corners[:, None] + sizes[:, None] * rng.uniform(0, 1, (count, 14, 2))
    annotations = [
        dict(
            id=i,
            image_id=i // 2,
            category_id=1,
            iscrowd=0,
            num_keypoints=14,
            bbox=[*corners[i], *sizes[i]],
            area=float(sizes[i].prod()),
            keypoints=np.c_[joints[i], np.full(14, 2)].ravel().tolist(),
        )
        for i in range(count)
    ]
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', width=1919, height=1198) for i in range((count + 1) // 2)],
        annotations=annotations,
        categories=[dict(id=1, name='person', keypoints=list(JOINTS), skeleton=[])],
    )
    boxes = np.c_[corners, corners + sizes].astype(np.float32)
    return content, [
        dict(
            id=i,
            img_id=i // 2,
            img_path=f'{row}/{i // 2}.png',
            split=row,
            category_id=1,
            raw_ann_info=annotations[i],
            ori_shape=(1198, 1919),
            gt_instances=dict(
                bboxes=boxes[i : i + 1], bbox_scores=np.ones(1, np.float32), bbox_scales=sizes[i : i + 1]
            ),
            pred_instances=dict(
                bboxes=boxes[i : i + 1],
                keypoint_scores=rng.uniform(0, 1, (1, 14)),
                keypoints=joints[i : i + 1] + rng.normal(0, 10, (1, 14, 2)),
            ),
        )
        for i in range(count)
    ]


def _pycocotools(samples: Sequence[dict], sigmas: np.ndarray) -> None:
    annotations = [dict(s['raw_ann_info'], id=i, image_id=i // 2) for i, s in enumerate(samples, start=1)]
    images = [dict(id=i) for i in range(len(samples) // 2 + 1)]
    found = [
        dict(
            image_id=a['image_id'],
            category_id=1,
            score=float(s['pred_instances']['keypoint_scores'].mean()),
            keypoints=np.c_[s['pred_instances']['keypoints'][0], np.ones(14)].ravel().tolist(),
        )
        for a, s in zip(annotations, samples)
    ]
    with redirect_stdout(StringIO()):
        truth = COCO()
        truth.dataset = dict(images=images, annotations=annotations, categories=[dict(id=1, name='person')])
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), 'keypoints')
        evaluation.params.kpt_oks_sigmas = np.asarray(sigmas)
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()


class Stepper:
    """Training steps of a config's model on one batch that stays the same.

    From then on the process keeps its heap if that is on the CPU, as training does.
    """

    def __init__(self, config: Config, data: dict, device: str) -> None:
        if device == 'cpu':
            keep_heap()
        self.model = build_model(config.model).to(device).train()
        self.data = data
        self.optimizer = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], lr=1e-5)
        if getattr(self.model, 'momentum_teacher', None) is not None:
            for _ in range(self.model.momentum_teacher.burn_in + 1):
                self.model.momentum_teacher.update(self.model.network)

    def step(self) -> None:
        """Forward, backward, one step of the optimiser, and the momentum teacher's update."""
        self._backward(self.model.data_preprocessor(self.data, True))
        self.optimizer.step()
        self.optimizer.zero_grad()
        if getattr(self.model, 'momentum_teacher', None) is not None:
            self.model.momentum_teacher.update(self.model.network)

    def _backward(self, batch: dict) -> None:
        self.model.parse_losses(self.model(**batch, mode='loss'))[0].backward()

    def tapped(self) -> dict[str, list[Tensor]]:
        """What both lightings leave in the taps of the well-lit teacher."""
        batch = self.model.data_preprocessor(self.data, True)
        features = {}
        with torch.no_grad():
            for name in LIGHTINGS:
                with lighting(self.model, name), tap(self.model.backbone, self.model.head.taps) as outputs:
                    self.model.backbone(batch['inputs'][name])
                features[name] = [x.clone().requires_grad_(name == 'low_light') for x in outputs.values()]
        return features


class PlainStepper(Stepper):
    """The same network without lightings and teachers: a step for each of a pair's images."""

    def __init__(self, config: Config, data: dict, device: str) -> None:
        plain = plain_config(config)
        super().__init__(plain, data, device)

    def step(self) -> None:
        for name in LIGHTINGS:
            images = dict(inputs=self.data['inputs'][name], data_samples=self.data['data_samples'])
            self._backward(self.model.data_preprocessor(images, True))
            self.optimizer.step()
            self.optimizer.zero_grad()


def backward(loss: Callable, features: dict[str, list[Tensor]]) -> None:
    """Forward and backward pass of a loss of two lists of features."""
    sum(loss(features['low_light'], features['well_lit'])).backward()


def looped_gram(low_light: Sequence[Tensor], well_lit: Sequence[Tensor]) -> list[Tensor]:
    """The style loss as the paper writes it: one Gram matrix after the other."""
    losses = []
    for low, well in zip(low_light, well_lit):
        positions = low.shape[2] * low.shape[3]
        for a, b in zip(low.flatten(2), well.detach().flatten(2)):
            losses.append(((b @ b.T - a @ a.T) ** 2).mean() / positions**2 / len(low) / len(low_light))
    return losses


def load_batch(config: Config, size: int) -> dict:
    """The first samples of the training data, again and again if there are too few."""
    dataset = build_dataset(config)
    return pseudo_collate([dataset[i % len(dataset)] for i in range(size)])


def peak_memory(config: Config, batch: int, device: str, kind: type[Stepper] = Stepper) -> float:
    """Most memory, in MB, that a process of its own needs for two training steps."""
    return _in_a_process(_peak_of_training, config.to_dict(), batch, device, kind)


def _in_a_process(task: Callable, *args: Any) -> float:
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(task, (*args, torch.get_num_threads()))


def _peak_of_training(config: dict, batch: int, device: str, kind: type[Stepper], threads: int) -> float:
    torch.set_num_threads(threads)
    config = Config(config)
    stepper = kind(config, load_batch(config, batch), device)
    stepper.step()
    stepper.step()
    return peak_of(device)


def _peak_of_prediction(config: dict, shape: tuple[int, ...], device: str, threads: int) -> float:
    torch.set_num_threads(threads)
    model, x = build_model(config).to(device).eval(), torch.rand(shape, device=device)
    _predict(model, x), _predict(model, x)
    return peak_of(device)


def peak_of(device: str) -> float:
    """Most memory, in MB, that this process has needed; on a GPU, of its tensors."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path('/proc/self/status')  # Linux' getrusage counts the parent's too
    most = re.search(r'VmHWM:\s+(\d+) kB', status.read_text(encoding='utf-8')) if status.is_file() else None
    if most:
        return int(most[1]) / 2**10
    if sys.platform == 'win32':
        return psutil.Process().memory_info().peak_wset / 2**20
    import resource  # which Windows lacks

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == 'darwin' else 2**10)


def text_table(ratios: Sequence[Ratio]) -> str:
    """A Markdown table."""
    rows = [
        [
            r.name,
            f'{r.median:.3f}',
            f'{r.low:.3f} to {r.high:.3f}',
            f'{r.task:.4g} {r.unit}',
            f'{r.yardstick:.4g} {r.unit}',
        ]
        for r in ratios
    ]
    return markdown_table([['task / yardstick', 'ratio', 'spread', 'task', 'yardstick'], *rows])


def epoch_table(whole: Ratio, cached: Ratio, step: Ratio, batch: int, people: int = 10000) -> str:
    """A Markdown table of the time that an epoch takes, and of what bounds it, with more hardware.

    Loading and training overlap, and gradients are taken to travel for nothing.

    Args:
        whole, cached (Ratio): Of 8 samples, from :func:`sample_costs`.
        step (Ratio): Of a batch, from :func:`step_costs`.
        batch (int): Pairs in it.
        people (int): In an epoch.
    """
    rows = [['devices like this', 'workers for each', 'whole frames', 'crop cache']]
    for devices in (1, 2, 4, 8):
        for workers in (1, 2, 4, 8):
            step_time = people * step.task / batch / devices
            cells = []
            for sample in (whole, cached):
                loading = people * sample.task / SAMPLES / (devices * workers)
                bound = 'loading' if loading > step_time else 'step'
                cells.append(f'{max(loading, step_time) / 60:.1f} min ({bound})')
            rows.append([str(devices), str(workers), *cells])
    return markdown_table(rows)


def as_json(ratios: Sequence[Ratio]) -> list[dict]:
    """The same for a file."""
    return [asdict(r) for r in ratios]
