"""What the thin command lines in ``tools/`` share."""
import os
import os.path as osp
import runpy
import sys
from argparse import ArgumentParser
from typing import Iterable, List, Optional, Tuple

import mmpose

from .checkpoints import CheckpointError
from .hooks import NonFiniteLossError
from .pairing import DatasetError
from .transforms import ImageError

CONFIG_VARIABLES = ('data_root', 'pretrained')
"""Variables of our base configs that ``--cfg-options NAME=VALUE`` may set.

mmengine applies ``--cfg-options`` after a config's variables were used, so a variable
would change nothing. Ours read the environment variable of the same name in capitals,
which mmengine substitutes in time.
"""


def export_variables(argv: Iterable[str]) -> List[str]:
    """Move config variables from ``--cfg-options`` to the environment.

    Args:
        argv (Iterable[str]): Command-line arguments.

    Returns:
        list[str]: The remaining arguments.
    """
    rest = []
    for arg in argv:
        name, is_option, value = arg.partition('=')
        if is_option and name in CONFIG_VARIABLES:
            os.environ[name.upper()] = value
        else:
            rest.append(arg)
    if rest and rest[-1] == '--cfg-options':
        rest.pop()
    return rest


def split_name(argument: str) -> Tuple[Optional[str], str]:
    """``(NAME, PATH)`` of ``NAME=PATH``, or ``(None, PATH)`` of a path, which may have an equals sign in it."""
    name, equals, path = argument.partition('=')
    return (name, path) if equals and not osp.exists(argument) else (None, argument)


def add_result_arguments(parser: ArgumentParser) -> None:
    """Arguments of :class:`~exlpose_mm.comparison.Comparison`: results, baseline, resamples and seed."""
    parser.add_argument(
        'results', nargs='+', metavar='RESULT',
        help='[NAME[:ROW]=]PATH: a work dir (its newest test), a table.json, or a JSON of plain '
        'MMPose, whose numbers belong to ROW (default LL-A); results of one NAME are joined; NAME@1, NAME@2 ... are '
        'trainings of one thing, for their mean and standard deviation')
    parser.add_argument('--baseline', metavar='NAME', help='result that others are compared to')
    parser.add_argument('--resamples', type=int, default=1000, help='of the images, for intervals')
    parser.add_argument('--seed', type=int, default=0, help='of the resamples')


def run_mmpose_tool(name: str) -> None:
    """Run MMPose's own ``tools/<name>.py`` with this process' arguments.

    Args:
        name (str): ``'train'`` or ``'test'``.

    Raises:
        SystemExit: With the message alone, if files are not as they ought to be, or loss or gradients not finite:
            a traceback through MMEngine would bury it.
    """
    script = osp.join(osp.dirname(mmpose.__file__), '.mim', 'tools', f'{name}.py')
    sys.argv = [script, *export_variables(sys.argv[1:])]
    try:
        runpy.run_path(script, run_name='__main__')
    except (DatasetError, ImageError, CheckpointError, NonFiniteLossError) as error:
        sys.exit(f'{name}: {error}')
