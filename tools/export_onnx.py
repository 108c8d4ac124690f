"""Exports one lighting's network to ONNX, and checks it against torch."""

import argparse
import os
import sys
from collections.abc import Sequence

import torch
from mmengine.config import Config

from exlpose_mm.apis.onnx_export import export, load_plain
from exlpose_mm.lighting import LIGHTINGS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('out', help='the ONNX file')
    parser.add_argument('--lighting', choices=LIGHTINGS, default='low_light')
    parser.add_argument('--threads', type=int, default=os.cpu_count())
    parser.add_argument('--repeats', type=int, default=7, help='of the timings')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    try:
        config = Config.fromfile(args.config)
        model = load_plain(config, args.checkpoint, args.lighting)
        times = export(model, args.out, tuple(model.head.decoder.input_size), repeats=args.repeats)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'export_onnx: {error}')
    print(
        f'{args.out} equals the model; one crop takes '
        + ', '.join(f'{1000 * seconds:.1f} ms in {name}' for name, seconds in times.items())
    )


if __name__ == '__main__':
    main()
