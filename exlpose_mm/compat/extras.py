"""Packages that not everybody needs, and configs as they lie in an installed package or a checkout."""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGE = Path(__file__).parents[1]
INSTALLED = PACKAGE / '.mim' / 'configs'
CONFIGS = INSTALLED if INSTALLED.is_dir() else PACKAGE.parent / 'configs'
"""Folder of the shipped configs."""


class MissingExtraError(ImportError):
    """An optional package is needed and not installed."""


class Extra(ModuleType):
    """A module that is imported when it is first used.

    Args:
        name (str): Of the module.
        extra (str): Of this package's extra that installs it.

    Raises:
        MissingExtraError: When something of it is used, if it is not installed.
    """

    def __init__(self, name: str, extra: str) -> None:
        super().__init__(name)
        self._extra = extra

    def __getattr__(self, attribute: str) -> Any:
        name = self.__name__
        try:
            return getattr(import_module(name), attribute)
        except ImportError as error:
            raise MissingExtraError(
                f"{name} is needed for this and not installed: pip install '{name}', or this "
                f"package as 'exlpose_mm[{self._extra}]'"
            ) from error
