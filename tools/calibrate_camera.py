"""Measures real dark frames, fits the low-light camera to them, and says how alike they are."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exlpose_mm.camera.calibration import CalibrationError, fit
from exlpose_mm.camera.raw_recovery import PATTERNS, cut_to_red, develop_raw, fit_colours, recover_raw
from exlpose_mm.camera.simulation import PRESETS, Camera
from exlpose_mm.cli import Progress, count
from exlpose_mm.datasets.transforms.loading import ImageError, load_image
from exlpose_mm.evaluation.camera_report import write_report


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('frames', nargs='+', help='dark frames of one camera at one gain')
    parser.add_argument('--analog-gain', type=float, required=True, help='gain of the frames, in dB')
    parser.add_argument(
        '--preset',
        choices=PRESETS,
        nargs='+',
        default=['exlpose-hard'],
        help="camera to compare with, one for all frames or one for each; a fit starts from the first one's sensor",
    )
    parser.add_argument(
        '--colours',
        choices=PATTERNS,
        metavar='PATTERN',
        help="find each frame's white balance and colour matrix; the colours of the sensor's "
        f'first 2 x 2 pixels: {", ".join(PATTERNS)} (of ExLPose: BGGR). About a minute a frame',
    )
    parser.add_argument(
        '--fit',
        type=count,
        default=0,
        metavar='N',
        help='fit the sensor by trying N of them, about 2 s each and frame; 100 are enough',
    )
    parser.add_argument('--seed', type=count, default=1, help='seed of the simulated frames')
    parser.add_argument('--out', default='work_dirs/camera', help='folder of the report')
    return parser.parse_args(argv)


def find_colours(frame: np.ndarray, start: Camera) -> Camera:
    camera = fit_colours(frame, start)
    top = len(frame) // 4 * 2
    part = frame[top : top + 200]
    same = (develop_raw(recover_raw(part, camera), camera) == part).mean()
    print(
        f'white balance {camera.white_balance}, colour matrix {camera.colour_matrix}: whole raw numbers '
        f'reproduce {same:.1%} of the values in the middle of the frame'
    )
    return camera


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    cameras = [replace(PRESETS[name], analog_gain=args.analog_gain) for name in args.preset]
    if len(cameras) not in (1, len(args.frames)):
        sys.exit(f'calibrate_camera: {len(cameras)} presets for {len(args.frames)} frames; give one or as many')
    if len(cameras) == 1:
        cameras *= len(args.frames)
    try:
        frames = {path: load_image(path) for path in args.frames}
        if args.colours:
            frames = {path: cut_to_red(frame, args.colours) for path, frame in frames.items()}
            cameras = [find_colours(frame, camera) for frame, camera in zip(frames.values(), cameras)]
        if args.fit:
            bar = Progress(args.fit)
            cameras = fit([*frames.values()], cameras, args.fit, lambda loss: bar.update())
            print('', *cameras, sep='\n')
        print(write_report(args.out, frames, cameras, args.seed))
    except (CalibrationError, ImageError) as error:
        sys.exit(f'calibrate_camera: {error}')


if __name__ == '__main__':
    main()
