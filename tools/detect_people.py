"""Detects people with an MMDetection model, for a test set's ``bbox_file`` or for training without labels."""

import argparse
import os
import os.path as osp
import sys
from collections.abc import Sequence

import torch
from mmengine.fileio import dump

from exlpose_mm.apis.detection import DetectionError, as_annotations, detect_people, list_images, load_detector
from exlpose_mm.cli import Progress, device
from exlpose_mm.datasets.exlpose import DatasetError
from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.lighting import LIGHTINGS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config', help="MMDetection config: a path, or 'mmdet::rtmdet/...'")
    parser.add_argument('checkpoint', help="path or URL of the detector's weights")
    parser.add_argument('ann_file', help='annotation file, e.g. ExLPose_test_LL-A.json')
    parser.add_argument('out', help='JSON file to write')
    parser.add_argument('--data-root', default='data/ExLPose', help='folder of the data set')
    parser.add_argument(
        '--on',
        choices=LIGHTINGS,
        default=LIGHTINGS[0],
        help='detect on the brightened dark images or on their well-lit partners',
    )
    parser.add_argument(
        '--unlabelled',
        action='store_true',
        help='write an annotation file of people without joints instead, for a training set with '
        'unlabelled=True; wants a higher --score-thr',
    )
    parser.add_argument('--score-thr', type=float, default=0.05, help='lowest score of a box')
    parser.add_argument(
        '--device',
        type=device,
        default='cuda:0' if torch.cuda.is_available() else 'cpu',
        help='where the detector runs',
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    os.makedirs(osp.dirname(osp.abspath(args.out)), exist_ok=True)
    try:
        images = list_images(args.ann_file, args.data_root, args.on)
        detector = load_detector(args.config, args.checkpoint, args.device)
    except (CheckpointError, DatasetError, DetectionError) as error:
        sys.exit(f'detect_people: {error}')
    bar = Progress(len(images))
    detections, errors = detect_people(detector, images, args.on, args.score_thr, bar.update)
    content = as_annotations(detections, args.ann_file, args.data_root, images) if args.unlabelled else detections
    dump(content, args.out, file_format='json')
    print(f'\n{args.out}: {len(detections)} people in {len(images) - len(errors)} images')
    if errors:
        sys.exit('\n'.join([f'{len(errors)} images were left out:', *map(str, errors)]))


if __name__ == '__main__':
    main()
