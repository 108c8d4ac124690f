"""Makes a small model for others: a config that needs no other file, and half-precision weights without a pickle."""

import argparse
import sys
from collections.abc import Sequence

from mmengine.config import Config

from exlpose_mm.apis.publishing import publish


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config', help='that the model was trained with')
    parser.add_argument('checkpoint')
    parser.add_argument('path', help='of what is written, without suffix: PATH.py and PATH.safetensors')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        written = publish(Config.fromfile(args.config), args.checkpoint, args.path)
    except (ValueError, OSError) as error:
        sys.exit(f'publish_model: {error}')
    for path in written:
        print(f'{path}: {path.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    main()
