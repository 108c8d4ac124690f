"""Tests detector and pose estimator together: on annotated boxes, on detected ones, and what is lost between them."""

import argparse
import os
import os.path as osp
import sys
from collections.abc import Sequence

from exlpose_mm.apis.detection import DetectionError, load_detector
from exlpose_mm.apis.end_to_end import EndToEndError, detect_sets, evaluate_poses, sets_of
from exlpose_mm.cli import Progress, device, printable_output
from exlpose_mm.datasets.exlpose import DatasetError
from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.engine.variables import ConfigError, load_config
from exlpose_mm.evaluation.comparison import Comparison
from exlpose_mm.evaluation.detector_share import share_table


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config', help='of the pose estimator; every split that it tests is taken')
    parser.add_argument('checkpoint', help='weights of the pose estimator')
    parser.add_argument(
        '--detector', nargs=2, required=True, metavar=('CONFIG', 'CHECKPOINT'), help='an MMDetection model'
    )
    parser.add_argument('--data-root', help="folder of the data set; the config's by default")
    parser.add_argument('--score-thr', type=float, default=0.05, help='lowest score of a box')
    parser.add_argument('--device', type=device, default='cpu', help='where the detector runs')
    parser.add_argument('--out', default='end_to_end', help='folder of boxes, tables and end_to_end.md')
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> str:
    """Detect and test; returns the tables."""
    config = load_config(args.config, data_root=args.data_root)
    det_config, det_checkpoint = args.detector
    sets, detector = sets_of(config), load_detector(det_config, det_checkpoint, args.device)
    os.makedirs(args.out, exist_ok=True)
    bar = Progress(sum(map(len, sets)))
    files = detect_sets(sets, detector, args.out, args.score_thr, bar.update)
    names = {'annotated boxes': ('annotated', None), 'detected boxes': ('detected', files)}
    results = {
        name: evaluate_poses(config, args.checkpoint, osp.join(args.out, prefix), boxes)
        for name, (prefix, boxes) in names.items()
    }
    comparison = Comparison(results, baseline='annotated boxes')
    return f'{share_table(*results.values())}\n\n{comparison.markdown()}'


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    printable_output()
    try:
        tables = run(args)
    except (CheckpointError, ConfigError, DatasetError, DetectionError, EndToEndError) as error:
        sys.exit(f'end_to_end: {error}')
    with open(osp.join(args.out, 'end_to_end.md'), 'w', encoding='utf-8') as file:
        file.write(tables)
    print(tables)


if __name__ == '__main__':
    main()
