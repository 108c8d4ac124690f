"""Measures what a config costs, each part against a yardstick in the same run; table and JSON."""

import argparse
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import throughput
import torch
from mmengine.config import Config, DictAction
from mmengine.fileio import dump
from ratios import (
    Ratio,
    as_json,
    compare_steps,
    epoch_table,
    metric_cost,
    prediction_costs,
    sample_costs,
    step_costs,
    text_table,
)

from exlpose_mm.camera.simulation import darken
from exlpose_mm.datasets.making.drawn import write_dataset
from exlpose_mm.datasets.making.pairs import FRAME
from exlpose_mm.engine.variables import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config', help='of a model with LSBN and a DualTeacherHead')
    parser.add_argument('--against', metavar='CONFIG', help="compare training steps with this config's instead")
    parser.add_argument('--data-root', help='paired data; by default six drawn pairs of the size of ExLPose')
    parser.add_argument('--batch-size', type=int, default=8, help='pairs')
    parser.add_argument('--repeats', type=int, default=7)
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--out', default='work_dirs/benchmark.json')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='key=value pairs that change the config')
    rates = parser.add_argument_group('throughput', 'how much passes in a second, as for a GPU, instead of ratios')
    rates.add_argument('--throughput', action='store_true')
    rates.add_argument('--batch-sizes', type=int, nargs='+', default=[32, 128], help='pairs')
    rates.add_argument(
        '--workers',
        type=int,
        nargs='+',
        default=sorted({1, 4, 8, os.cpu_count()}),
        help='of the loader; the last also of the run',
    )
    rates.add_argument('--steps', type=int, default=50, help='timed, after ten')
    rates.add_argument('--iterations', type=int, default=200, help='of the run with its loader')
    return parser.parse_args(argv)


def load(args: argparse.Namespace, path: str, root: str) -> Config:
    config = load_config(path, data_root=root)
    config.merge_from_dict(args.cfg_options or {})
    return config


def measure(args: argparse.Namespace, folder: str, root: str) -> tuple[list[Ratio], str]:
    """Ratios, and a text that follows from them."""
    config = load(args, args.config, root)
    if args.against:
        other = load_config(args.against, data_root=root)
        return compare_steps(config, other, args.batch_size, args.repeats, args.device), ''
    whole, cached = sample_costs(config, folder, args.repeats)
    steps = step_costs(config, args.batch_size, args.repeats, args.device)
    table = epoch_table(whole, cached, steps[0], args.batch_size)
    return [
        whole,
        cached,
        *steps,
        *prediction_costs(config, args.repeats, args.device),
        metric_cost(min(3, args.repeats)),
    ], f'\n\nAn epoch of 10,000 people, reckoned from these:\n\n{table}'


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        root = args.data_root or folder
        if not args.data_root:
            write_dataset(root, 3, 3, 0, FRAME, darken)
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        if args.throughput:
            measure_throughput(args, folder, root)
        else:
            dump(measure_ratios(args, folder, root), args.out, indent=1)


def measure_throughput(args: argparse.Namespace, folder: str, root: str) -> None:
    """Each figure is printed and written as soon as it is known: a run that is cut off keeps what it had."""
    told = dict(
        machine=throughput.machine(args.device),
        threads=args.threads,
        date=str(date.today()),
        command=shlex.join(sys.argv),
    )
    print('\n'.join(f'{key}: {value}' for key, value in told.items()), flush=True)
    config, rates = load(args, args.config, root), []
    for rate in throughput.measure(
        config, folder, args.batch_sizes, args.workers, args.steps, args.iterations, args.device
    ):
        rates.append(rate)
        print(f'{rate.name}: {rate.median:.4g} {rate.unit}', flush=True)
        dump(dict(told, rates=throughput.as_json(rates)), args.out, indent=1)
    print(f'\n{throughput.text_table(rates)}')


def measure_ratios(args: argparse.Namespace, folder: str, root: str) -> list[dict]:
    ratios, rest = measure(args, folder, root)
    print(
        f'{platform.processor() or platform.machine()}, {args.threads} threads, {args.device}, batches of '
        f'{args.batch_size} pairs, median of {args.repeats}\n\n{text_table(ratios)}{rest}'
    )
    return as_json(ratios)


if __name__ == '__main__':
    main()
