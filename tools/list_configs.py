"""Writes configs/README.md, the table of shipped configs; downloads nothing."""
import argparse
from pathlib import Path

from mmengine.logging import MMLogger
from mmpose.utils import register_all_modules

import exlpose_mm  # noqa: F401, registers its modules
from exlpose_mm.model_zoo import write_table


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--configs', type=Path, default=Path(__file__).resolve().parents[1] / 'configs',
                        help='folder of all configs')
    args = parser.parse_args()
    register_all_modules()
    MMLogger.get_current_instance().setLevel('ERROR')  # the losses, which a forward pass leaves out
    print(f'wrote {write_table(args.configs)}')


if __name__ == '__main__':
    main()
