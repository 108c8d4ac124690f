"""Trains the method in small for a long time, and says whether memory, files, processes or hooks leak."""
import argparse
import sys
import tempfile
from pathlib import Path

import torch

from exlpose_mm.camera import darken
from exlpose_mm.soak import changes, small_config, soak, text_table
from exlpose_mm.synthetic import write_dataset


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        epilog='The exit code is 1 if something leaks.')
    parser.add_argument('--iterations', type=int, default=20000, help='at least so many, in whole epochs')
    parser.add_argument('--pairs', type=int, default=100, help='images drawn; they make the length of an epoch')
    parser.add_argument('--batch-size', type=int, default=2, help='pairs')
    parser.add_argument('--workers', type=int, default=2, help='of the loader, started anew in each epoch')
    parser.add_argument('--tolerance', type=float, default=0.02, help='share by which memory may grow')
    parser.add_argument('--out', default='work_dirs/soak.json', help='what was held in each epoch')
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder, 'data'), args.pairs, 3, 0, (64, 64), darken)
        config = small_config(Path(folder, 'data'), Path(folder, 'work'), args.batch_size, args.workers,
                              checkpoint_interval=10)
        notes = soak(config, args.iterations, args.out)
    found = changes(notes, args.tolerance)
    print(f'{args.iterations} iterations, {len(notes)} epochs, batches of {args.batch_size} pairs, '
          f'{args.workers} workers\n\n{text_table(found)}')
    return int(any(change.leaks for change in found))


if __name__ == '__main__':
    sys.exit(main())
