"""Shows what training sees of a config's data, joints on every image; or checks a downloaded ExLPose."""

import argparse
import os
import sys
from collections.abc import Sequence

import cv2
import numpy as np

from exlpose_mm.cli import Progress, count
from exlpose_mm.datasets.release_check import HEADER, check_release, complete
from exlpose_mm.engine.building import build_dataset
from exlpose_mm.engine.variables import load_config
from exlpose_mm.visualization import contact_sheet, draw_sample, input_names


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config', nargs='?', help='whose training data are shown')
    parser.add_argument(
        '--check',
        action='store_true',
        help='check the release in --data-root instead: counts, partners, sizes, boxes, pixels',
    )
    parser.add_argument('--data-root', help="folder of the data set, if not the config's")
    parser.add_argument('--num', type=count, default=8, help='samples, spread evenly over the data set')
    parser.add_argument('--seed', type=count, default=0, help='of the augmentation')
    parser.add_argument('--out', default='training_samples.png', help='the picture')
    parser.add_argument('--workers', type=count, default=os.cpu_count(), help='threads that decode, for --check')
    args = parser.parse_args(argv)
    if min(args.num, args.workers) < 1:
        parser.error('--num and --workers are at least 1')
    if not args.check and not args.config:
        parser.error('name a config, or --check a data set')
    return args


def check(args: argparse.Namespace) -> None:
    reports = check_release(args.data_root or 'data/ExLPose', args.workers, progress=Progress)
    problems = [line for report in reports for line in report.problems]
    print('\n' + '\n'.join([*problems, '', HEADER, *(report.row() for report in reports)]))
    sys.exit(0 if complete(reports) else 'This is not the release as it was published.')


def browse(args: argparse.Namespace) -> None:
    dataset = build_dataset(load_config(args.config, data_root=args.data_root), pack_transformed=True)
    np.random.seed(args.seed)
    samples = [dataset[int(i)] for i in np.unique(np.linspace(0, len(dataset) - 1, args.num).astype(int))]
    names = max((input_names(sample) for sample in samples), key=len)
    sheet = contact_sheet([draw_sample(sample, dataset.metainfo, names) for sample in samples], names)
    if not cv2.imwrite(args.out, sheet):
        sys.exit(f'browse_dataset: cannot write {args.out}: does its folder exist, and is there room?')
    print(args.out)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        (check if args.check else browse)(args)
    except (ValueError, OSError) as error:
        sys.exit(f'browse_dataset: {error}')


if __name__ == '__main__':
    main()
