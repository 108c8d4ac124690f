"""Converts a checkpoint of the official ExLPose code for this package, or back."""

import argparse
import sys
from collections.abc import Sequence

from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.engine.official_checkpoints import from_official, to_official


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='IN', help='checkpoint to read')
    parser.add_argument('target', metavar='OUT', help='checkpoint to write')
    parser.add_argument(
        '--to-official', action='store_true', help='from a checkpoint of this package to one of the official code'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    convert = to_official if args.to_official else from_official
    try:
        written = convert(args.source, args.target)
    except CheckpointError as error:
        sys.exit(f'convert_official: {error}')
    print(f'{args.target}: {len(written["state_dict"])} tensors')


if __name__ == '__main__':
    main()
