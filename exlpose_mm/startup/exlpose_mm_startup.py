"""Lets MMPose run without the compiled part of mmcv.

MMPose and MMDetection import ``mmcv.ops``, whose modules ask the compiled ``mmcv._ext`` for their operators.
``mmcv-lite`` is all of mmcv but that extension. Where it is missing, :class:`MMCVExtensionFinder` supplies
``mmcv_ext.py`` in its name; a compiled one is found first and nothing is replaced.

Importing this module installs the finder. ``import exlpose_mm`` does, and, so that ``import mmpose`` may come first,
so does Python when it starts: both files of this folder are installed beside the package, where Python executes
``*.pth``. Therefore no more than the standard library is imported here.
"""
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Optional

NAME = 'mmcv._ext'


class MMCVExtensionFinder(MetaPathFinder):
    """Finds ``mmcv._ext`` where nobody else does; to be the last of ``sys.meta_path``."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Optional[ModuleSpec]:
        package = importlib.util.find_spec('exlpose_mm') if fullname == NAME else None
        if package is None or package.origin is None:
            return None
        return importlib.util.spec_from_file_location(NAME, Path(package.origin).with_name('mmcv_ext.py'))


sys.meta_path.append(MMCVExtensionFinder())
