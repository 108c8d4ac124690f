"""Writes a picture of predictions on dark images, lifted, beside their well-lit partners."""
import argparse

import cv2
from mmengine.utils import track_progress
from mmpose.apis import init_model

from exlpose_mm import ExLPoseDataset
from exlpose_mm.visualization import contact_sheet, draw_pair, group_by_image


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('--data-root', default='data/ExLPose', help="ExLPose, in any of its layouts")
    parser.add_argument('--ann-file', default='ExLPose_test_LL-A.json')
    parser.add_argument('--out', default='predictions.png')
    parser.add_argument('--num', type=int, default=6, help='images, spread evenly over the data set')
    parser.add_argument('--device', default='cpu')
    return parser.parse_args()


def main():
    args = parse_args()
    model = init_model(args.config, args.checkpoint, device=args.device)
    dataset = ExLPoseDataset(lighting='paired', ann_file=args.ann_file, data_root=args.data_root,
                             test_mode=True)
    images = group_by_image(dataset)
    chosen = images[::max(1, len(images) // args.num)][:args.num]
    rows = track_progress(lambda people: draw_pair(model, people), chosen)
    if not cv2.imwrite(args.out, contact_sheet(rows)):
        raise OSError(f'cannot write {args.out}: does its folder exist, and is there room?')
    print(f'\n{args.out}')


if __name__ == '__main__':
    main()
