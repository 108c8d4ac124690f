"""Trains the method in small for a long time, and says whether memory, files, processes or hooks leak."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median

import torch
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpose.registry import DATASETS

from exlpose_mm.camera.simulation import darken
from exlpose_mm.compat.extras import CONFIGS, Extra
from exlpose_mm.datasets.making.drawn import write_dataset
from exlpose_mm.writing import markdown_table

psutil = Extra('psutil', 'dev')
CONFIG = 'demo/exlpose_r18_1xb16-10e_demo-128x96.py'
"""What is made small, below ``configs/``."""
CODEC = dict(
    type='SoftmaxHeatmap', input_size=(32, 32), heatmap_size=(8, 8), sigma=1.0, unbiased=True, blur_kernel_size=3
)
MEMORY = 'MB'


def small_config(
    data_root: str | Path, work_dir: str | Path, batch_size: int = 2, workers: int = 2, checkpoint_interval: int = 1
) -> Config:
    """The method in small: LSBN, both teachers, pairs from files and pairs of the camera, 32 x 32 pixels.

    The loader's workers are started anew in each epoch.

    Args:
        data_root (str | Path): What :func:`~exlpose_mm.datasets.making.drawn.write_dataset` writes.
        work_dir (str | Path): For checkpoints and logs.
        batch_size (int): Pairs. Defaults to 2.
        workers (int): Defaults to 2.
        checkpoint_interval (int): In epochs. Defaults to 1.
    """
    config = Config.fromfile(CONFIGS / CONFIG)
    config.work_dir, config.log_level, config.default_scope = str(work_dir), 'WARNING', 'mmpose'
    config.custom_hooks = [dict(type='MomentumTeacherHook')]  # and not the validation of the untrained model
    config.model.backbone.update(
        num_stages=1, stem_channels=8, base_channels=8, strides=(1,), dilations=(1,), out_indices=(0,)
    )
    config.model.head.head.update(in_channels=8, deconv_out_channels=None, decoder=CODEC)
    config.model.head.well_lit_teacher.taps = ['conv1', 'layer1']
    config.model.head.momentum_teacher = dict(loss=dict(min_confidence=(0.0, 0.0)))
    people = dict(config.train_dataloader.dataset, data_root=str(data_root))
    config.train_dataloader.update(batch_size=batch_size, num_workers=workers, persistent_workers=False)
    config.train_dataloader.dataset = dict(
        type='ConcatDataset',
        datasets=[
            dict(people, pipeline=_pipeline(dict(type='LoadPairedImages'))),
            dict(
                people,
                lighting='well_lit',
                pipeline=_pipeline(dict(type='LoadLabelledImage'), dict(type='SimulateLowLight', level='exlpose')),
            ),
        ],
    )
    config.update(
        dict.fromkeys(('val_cfg', 'val_dataloader', 'val_evaluator', 'test_cfg', 'test_dataloader', 'test_evaluator'))
    )
    config.default_hooks.checkpoint.update(save_best=None, interval=checkpoint_interval)
    return config


def _pipeline(*loading: dict) -> list[dict]:
    crop = dict(type='CPNCrop', input_size=CODEC['input_size'], scale_range=(0.8, 1.25))
    return [
        *loading,
        dict(type='AddMomentumView'),
        dict(type='OnStudent', transforms=[dict(type='ThinPhotons', keep=(0.3, 1.0), prob=0.5)]),
        dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')]),
        dict(type='RandomFlip', direction='horizontal'),
        crop,
        dict(type='GenerateTarget', encoder=CODEC),
        dict(type='PackPairedInputs'),
    ]


class FootprintHook(Hook):
    """Notes in the middle of every epoch what this process and its loader workers hold.

    Args:
        out (str | Path): JSON file for all notes so far, so that a run that was stopped has them too.

    Attributes:
        notes (list[dict]): Name to number; memory is resident, in MB.
    """

    priority = 'LOWEST'

    def __init__(self, out: str | Path) -> None:
        self.out = out
        self.notes: list[dict[str, float]] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if batch_idx != len(runner.train_dataloader) // 2:
            return
        process = psutil.Process()
        children = process.children(recursive=True)
        resident = [child.memory_info().rss / 2**20 for child in children]
        self.notes.append(
            {
                f'main process, {MEMORY}': process.memory_info().rss / 2**20,
                **({f'largest worker, {MEMORY}': max(resident)} if resident else {}),
                'child processes': len(children),
                'threads': process.num_threads(),
                'open files': process.num_handles() if psutil.WINDOWS else process.num_fds(),
                'hooks of modules': sum(
                    len(hooks)
                    for module in runner.model.modules()
                    for hooks in (
                        module._forward_hooks,
                        module._forward_pre_hooks,
                        module._backward_hooks,
                        module._backward_pre_hooks,
                    )
                ),
            }
        )
        Path(self.out).parent.mkdir(parents=True, exist_ok=True)
        dump(self.notes, self.out, indent=1)


def soak(config: Config, iterations: int, out: str | Path) -> list[dict[str, float]]:
    """Train for at least so many iterations, in whole epochs.

    Returns:
        list[dict]: What :class:`FootprintHook` noted, one for each epoch, as in the file ``out``.
    """
    with DefaultScope.overwrite_default_scope('mmpose'):
        people = len(DATASETS.build(config.train_dataloader.dataset))
    epochs = ceil(iterations / (people // config.train_dataloader.batch_size))
    footprint = FootprintHook(out)
    config.train_cfg = dict(by_epoch=True, max_epochs=epochs)
    runner = Runner.from_cfg(config)
    runner.register_hook(footprint)
    runner.train()
    return footprint.notes


@dataclass(frozen=True)
class Change:
    """What grew between the second and the last quarter of a training; medians.

    Args:
        name (str): Of the figure.
        before, after (float): The figure.
        tolerance (float): By what share memory may grow; all else is not to grow at all.
    """

    name: str
    before: float
    after: float
    tolerance: float

    @property
    def growth(self) -> float:
        """As a share; 0.01 is 1 %."""
        return self.after / self.before - 1 if self.before else float(self.after > 0)

    @property
    def leaks(self) -> bool:
        return self.growth > (self.tolerance if self.name.endswith(MEMORY) else 0)


def changes(notes: Sequence[dict[str, float]], tolerance: float = 0.02) -> list[Change]:
    """Compare the second quarter of the notes, when the program is warm, with the last.

    Raises:
        ValueError: If there are fewer than four notes.
    """
    if len(notes) < 4:
        raise ValueError(f'leaks show in four epochs or more, got {len(notes)}: ask for more iterations')
    quarter = len(notes) // 4
    return [
        Change(
            name,
            median(note[name] for note in notes[quarter : 2 * quarter]),
            median(note[name] for note in notes[-quarter:]),
            tolerance,
        )
        for name in notes[0]
    ]


def text_table(found: Sequence[Change]) -> str:
    """A Markdown table."""
    header = ['held', 'second quarter', 'last quarter', 'change', '']
    rows = [
        [c.name, f'{c.before:.5g}', f'{c.after:.5g}', f'{c.growth:+.2%}', 'LEAKS' if c.leaks else 'flat'] for c in found
    ]
    return markdown_table([header, *rows])


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog='The exit code is 1 if something leaks.',
    )
    parser.add_argument('--iterations', type=int, default=20000, help='at least so many, in whole epochs')
    parser.add_argument('--pairs', type=int, default=100, help='images drawn; they make the length of an epoch')
    parser.add_argument('--batch-size', type=int, default=2, help='pairs')
    parser.add_argument('--workers', type=int, default=2, help='of the loader, started anew in each epoch')
    parser.add_argument('--tolerance', type=float, default=0.02, help='share by which memory may grow')
    parser.add_argument('--out', default='work_dirs/soak.json', help='what was held in each epoch')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder, 'data'), args.pairs, 3, 0, (64, 64), darken)
        config = small_config(
            Path(folder, 'data'), Path(folder, 'work'), args.batch_size, args.workers, checkpoint_interval=10
        )
        notes = soak(config, args.iterations, args.out)
    found = changes(notes, args.tolerance)
    print(
        f'{args.iterations} iterations, {len(notes)} epochs, batches of {args.batch_size} pairs, '
        f'{args.workers} workers\n\n{text_table(found)}'
    )
    return int(any(change.leaks for change in found))


if __name__ == '__main__':
    sys.exit(main())
