"""Makes a plain MMPose model of one lighting: a config and a checkpoint with ordinary batch norms."""

import argparse
import sys
from collections.abc import Sequence

from mmengine.config import Config

from exlpose_mm.apis.deployment import deploy
from exlpose_mm.lighting import LIGHTINGS


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('folder', help='where config.py and model.pth go')
    parser.add_argument('--lighting', choices=LIGHTINGS, default='low_light')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        written = deploy(Config.fromfile(args.config), args.checkpoint, args.folder, args.lighting)
    except (ValueError, OSError) as error:
        sys.exit(f'deploy: {error}')
    print(*written, sep='\n')


if __name__ == '__main__':
    main()
