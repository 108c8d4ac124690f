"""What this package needs and was tested with, and what it says of anything else."""

import platform
import warnings
from importlib import import_module
from importlib.util import find_spec

from mmengine.utils import digit_version

INSTALL = {
    'mmcv': 'pip install mmcv-lite==2.1.0, or the compiled one: mim install mmcv==2.1.0',
    'mmpose': 'pip install --no-deps mmpose==1.3.2',
    'xtcocotools': 'pip install cython && pip install --no-build-isolation --no-deps --no-cache-dir --force-reinstall '
    '--no-binary xtcocotools xtcocotools==1.14.3',
}
"""Commands for what pip is not told of, as it would fetch packages that do not build or do not fit."""

TESTED: dict[str, tuple[str, str]] = {
    'Python': ('3.10', '3.12'),
    'torch': ('2.1', '2.14'),
    'numpy': ('1.26', '2.4'),
    'mmengine': ('0.10', '0.10'),
    'mmcv': ('2.1', '2.1'),
    'mmdet': ('3.2', '3.2'),
    'mmpose': ('1.3', '1.3'),
}
"""Lowest and highest release, to the minor version, of the stacks in ``requirements.txt`` and ``requirements/``."""


class StackError(ImportError):
    """A package is missing, or two of them do not fit each other."""


def check_installed() -> None:
    """See that what cannot be a dependency is there, before MMPose is imported.

    Raises:
        StackError: Names the package and the command that installs it.
    """
    for name, command in INSTALL.items():
        if find_spec(name) is None:
            raise StackError(f'exlpose_mm needs {name}, which is not installed: {command}')
    try:
        import_module('xtcocotools.mask')
    except ValueError as error:  # NumPy's, of binary incompatibility
        raise StackError(
            f'xtcocotools was built for another NumPy ({error}); build it for this one: {INSTALL["xtcocotools"]}'
        ) from error
    versions = installed()
    if digit_version(versions['torch']) < digit_version('2.3') and digit_version(versions['numpy'])[0] >= 2:
        raise StackError(f'torch {versions["torch"]} cannot use NumPy {versions["numpy"]}: pip install "numpy<2"')


def warn_untested() -> None:
    """Say once which versions are outside of :data:`TESTED`; nothing if all are inside."""
    found = untested(installed())
    if found:
        warnings.warn(
            f'exlpose_mm was not tested with {"; ".join(found)}. requirements.txt has what it was tested with',
            stacklevel=3,
        )


def installed() -> dict[str, str]:
    """Versions of what :data:`TESTED` names."""
    return {name: platform.python_version() if name == 'Python' else import_module(name).__version__ for name in TESTED}


def untested(versions: dict[str, str]) -> list[str]:
    """What to say of each version that is outside of :data:`TESTED`."""
    found = []
    for name, (lowest, highest) in TESTED.items():
        if not digit_version(lowest)[:2] <= digit_version(versions[name])[:2] <= digit_version(highest)[:2]:
            window = lowest if lowest == highest else f'{lowest} to {highest}'
            found.append(f'{name} {versions[name]} (but with {window})')
    return found
