"""Lets MMPose run without the compiled part of mmcv.

MMPose and MMDetection import ``mmcv.ops``, whose modules ask the compiled ``mmcv._ext`` for their operators.
``mmcv-lite`` is all of mmcv but that extension. Where it is missing, :class:`MMCVExtensionFinder` supplies
``compat/mmcv_ext.py`` in its name; a compiled one is found first and nothing is replaced.

Importing this module installs the finder. ``import exlpose_mm`` does, and, so that ``import mmpose`` may come first,
so does Python when it starts: both files of this folder are installed beside the package, where Python executes
``*.pth``. Therefore nothing that takes time is imported here before it is needed.
"""

import sys

TYPE_CHECKING = False  # as typing's, which takes time to import
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class MMCVExtensionFinder:
    """Finds ``mmcv._ext`` where nobody else does; to be the last of ``sys.meta_path``."""

    NAME = 'mmcv._ext'

    @classmethod
    def find_spec(
        cls, fullname: str, path: 'Sequence[str] | None' = None, target: 'ModuleType | None' = None
    ) -> 'ModuleSpec | None':
        """As :meth:`importlib.abc.MetaPathFinder.find_spec`."""
        if fullname != cls.NAME:
            return None
        from importlib.util import find_spec, spec_from_file_location
        from os.path import dirname, join

        package = find_spec('exlpose_mm')
        if package is None or package.origin is None:  # uninstalled, all but this file
            return None
        return spec_from_file_location(cls.NAME, join(dirname(package.origin), 'compat', 'mmcv_ext.py'))


sys.meta_path.append(MMCVExtensionFinder)
