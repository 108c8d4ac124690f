"""Makes a paired low-light data set in ExLPose's layout of any COCO-style keypoint data set."""

import argparse
import os
import sys
from collections.abc import Sequence

from exlpose_mm.cli import Progress, count
from exlpose_mm.datasets.making.layout import SPLITS
from exlpose_mm.datasets.making.pairs import Settings, make_pairs


def level(text: str) -> str | tuple[float, ...]:
    """A level's name, or a range ``low,high`` in DN."""
    try:
        return tuple(float(value) for value in text.split(',')) if ',' in text else text
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is no range of numbers: low,high') from error


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--ann', required=True, help='COCO-style keypoint annotations')
    parser.add_argument('--images', required=True, help='folder of their images')
    parser.add_argument('--out', required=True, help='folder of the data set')
    parser.add_argument(
        '--level',
        nargs='+',
        type=level,
        default=['exlpose-hard'],
        help='a preset (exlpose-hard, ...), exlpose for a random camera, a level (normal, hard, '
        'extreme) or LOW,HIGH: a range of the mean in DN; several take turns',
    )
    parser.add_argument(
        '--person-height',
        type=float,
        help="resize images so that people have this height in pixels; ExLPose's median is 349",
    )
    parser.add_argument('--split', choices=SPLITS, default='train', help='split to make')
    parser.add_argument('--seed', type=count, default=0, help='seed of the noise')
    parser.add_argument('--workers', type=count, default=os.cpu_count(), help='processes; 0 works in this one')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    settings = Settings(args.ann, args.images, args.split, args.level, args.seed, args.person_height)
    try:
        made, problems = make_pairs(settings, args.out, args.workers, Progress)
    except (ValueError, OSError) as error:
        sys.exit(f'make_pairs: {error}')
    print(f'\n{args.out}: {made} pairs')
    if problems:
        sys.exit('\n'.join([f'{len(problems)} images have no pair:', *problems]))


if __name__ == '__main__':
    main()
