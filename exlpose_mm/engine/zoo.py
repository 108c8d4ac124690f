"""The model that the package carries, for whoever has none: a config and weights, which need no other file.

Importing this module makes its name known to MMPose's inferencers, beside the models of MMPose's own zoo.
"""

from collections.abc import Iterator
from pathlib import Path

from mmengine.infer import BaseInferencer

ZOO = Path(__file__).parents[1] / 'zoo'
NAME = 'exlpose'
CONFIG, WEIGHTS = (str(ZOO / f'{NAME}{suffix}') for suffix in ('.py', '.safetensors'))

_models_of_metafile = BaseInferencer._get_models_from_metafile


def models_of_metafile(folder: str) -> Iterator[dict]:
    """In place of MMEngine's function of this use: MMPose's models and, after them, the one of this package.

    Args:
        folder (str): Where a package has its ``model-index.yml``.
    """
    yield from _models_of_metafile(folder)
    if folder == BaseInferencer._get_repo_or_mim_dir('mmpose'):
        yield dict(Name=NAME, Config=CONFIG, Weights=WEIGHTS)


BaseInferencer._get_models_from_metafile = staticmethod(models_of_metafile)
