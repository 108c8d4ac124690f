"""Writes a picture of predictions on dark images, lifted, beside their well-lit partners."""

import argparse
import sys
from collections.abc import Sequence

import cv2

from exlpose_mm import ExLPoseDataset
from exlpose_mm.apis.inference import load_model
from exlpose_mm.cli import Progress, count, device
from exlpose_mm.evaluation.results import split_name
from exlpose_mm.visualization import contact_sheet, draw_people, group_by_image


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config')
    parser.add_argument(
        'checkpoints',
        nargs='+',
        metavar='[NAME=]CHECKPOINT',
        help='of this config; each gets a column, which NAME is the caption of',
    )
    parser.add_argument('--data-root', default='data/ExLPose', help='ExLPose, in any of its layouts')
    parser.add_argument('--ann-file', default='ExLPose_test_LL-A.json')
    parser.add_argument(
        '--unpaired', action='store_true', help='the data have no well-lit partners: labels go on the lifted image'
    )
    parser.add_argument('--crop', action='store_true', help='show only where the people are')
    parser.add_argument('--width', type=int, help='of the picture in pixels, if it would be wider')
    parser.add_argument('--out', default='predictions.png')
    parser.add_argument('--num', type=count, default=6, help='images, spread evenly over the data set')
    parser.add_argument('--device', type=device, default='cpu')
    args = parser.parse_args(argv)
    if args.num < 1:
        parser.error('--num is at least 1')
    return args


def show(args: argparse.Namespace) -> None:
    names, paths = zip(*map(split_name, args.checkpoints))
    models = [load_model(args.config, path, args.device) for path in paths]
    dataset = ExLPoseDataset(
        lighting='low_light' if args.unpaired else 'paired',
        ann_file=args.ann_file,
        data_root=args.data_root,
        test_mode=True,
    )
    images = group_by_image(dataset)
    chosen = images[:: max(1, len(images) // args.num)][: args.num]
    bar, rows = Progress(len(chosen)), []
    for people in chosen:
        rows.append(draw_people(models, people, args.crop))
        bar.update()
    captions = (
        'as the camera saw it',
        *(name or 'lifted, with predictions' for name in names),
        'labels' if args.unpaired else 'well-lit partner, labels',
    )
    sheet = contact_sheet(rows, captions, args.width)
    if not cv2.imwrite(args.out, sheet):
        raise OSError(f'cannot write {args.out}: does its folder exist, and is there room?')
    print(f'\n{args.out}')


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        show(args)
    except (ValueError, OSError) as error:
        sys.exit(f'show_predictions: {error}')


if __name__ == '__main__':
    main()
