"""Writes the crop cache of a config's data: people's regions, ready to be read without decoding."""

import argparse
import os
import sys
from collections.abc import Sequence

from exlpose_mm.cli import Progress, count
from exlpose_mm.datasets.crop_cache import build, verify
from exlpose_mm.engine.building import build_uncached
from exlpose_mm.engine.variables import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--out', required=True, help='the file; then train with --cfg-options crop_cache=FILE')
    parser.add_argument('--data-root', help="folder of the data set, if not the config's")
    parser.add_argument(
        '--parts',
        nargs='+',
        choices=('train', 'val', 'test'),
        default=['train', 'val', 'test'],
        help='loaders whose data are kept',
    )
    parser.add_argument(
        '--workers', type=count, default=os.cpu_count(), help='processes that decode; 0 decodes in this one'
    )
    parser.add_argument(
        '--samples', type=count, default=32, help='of each data set, to compare with those of whole frames'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    made, compared, people = 0, 0, 0
    problems: list[str] = []
    try:
        config = load_config(args.config, data_root=args.data_root)
        for dataset in (dataset for part in args.parts for dataset in build_uncached(config, part)):
            written, unread = build(dataset, args.out, args.workers, Progress)
            made, people, problems = made + written, people + len(dataset), problems + unread
            compared += 0 if unread else verify(dataset, args.out, args.samples)
    except (ValueError, OSError) as error:
        sys.exit(f'cache_crops: {error}')
    print(f'\n{args.out}: {made} of {people} people written, {os.stat(args.out).st_blocks * 512 / 1e9:.1f} GB')
    if problems:
        sys.exit('\n'.join([f'{len(problems)} images could not be read:', *problems]))
    print(f'{compared} samples equal those of whole frames')


if __name__ == '__main__':
    main()
