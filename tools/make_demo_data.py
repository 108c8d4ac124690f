"""Draws the small paired data set of the demo: no download, the same images for the same seed."""

import argparse

from exlpose_mm.camera.simulation import darken
from exlpose_mm.cli import Progress, count
from exlpose_mm.datasets.making.drawn import write_dataset


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--out', default='data/demo', help='folder of the data set')
    parser.add_argument('--train', type=count, default=480, help='number of training pairs')
    parser.add_argument('--test', type=count, default=120, help='number of test pairs')
    parser.add_argument('--seed', type=count, default=0, help='seed of everything that is random')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(320, 240),
        metavar=('WIDTH', 'HEIGHT'),
        help='size of the images in pixels',
    )
    parser.add_argument(
        '--people',
        type=int,
        nargs=2,
        metavar=('FEWEST', 'MOST'),
        help='number of people in an image, all as often (default: one to three, fewer more often)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    bar = Progress(args.train + args.test)
    people = args.people and tuple(args.people)
    size = tuple(args.size)
    written = write_dataset(args.out, args.train, args.test, args.seed, size, darken, bar.update, people)
    print(f'\n{args.out}: {"written" if written else "already there, nothing to do"}')


if __name__ == '__main__':
    main()
