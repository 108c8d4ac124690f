"""Writes the crop cache of a config's training data: people's regions, ready to be read without decoding."""

import argparse
import os
import sys
from collections.abc import Sequence

from exlpose_mm.cli import Progress, count
from exlpose_mm.datasets.crop_cache import build, verify
from exlpose_mm.engine.building import build_dataset
from exlpose_mm.engine.variables import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--out', required=True, help='the file; then set train_dataloader.dataset.crop_cache to it')
    parser.add_argument('--data-root', help="folder of the data set, if not the config's")
    parser.add_argument(
        '--workers', type=count, default=os.cpu_count(), help='processes that decode; 0 decodes in this one'
    )
    parser.add_argument(
        '--samples', type=count, default=32, help='training samples to compare with those of whole frames'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        config = load_config(args.config, data_root=args.data_root)
        config.train_dataloader.dataset.pop('crop_cache', None)
        dataset = build_dataset(config)
        made, problems = build(dataset, args.out, args.workers, Progress)
        compared = 0 if problems else verify(dataset, args.out, args.samples)
    except (ValueError, OSError) as error:
        sys.exit(f'cache_crops: {error}')
    print(f'\n{args.out}: {made} of {len(dataset)} people written, {os.stat(args.out).st_blocks * 512 / 1e9:.1f} GB')
    if problems:
        sys.exit('\n'.join([f'{len(problems)} images could not be read:', *problems]))
    print(f'{compared} training samples equal those of whole frames')


if __name__ == '__main__':
    main()
