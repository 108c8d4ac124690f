"""The models that the package carries, for whoever has none: configs and weights, which need no other file.

Importing this module makes their names known to the inferencers of MMPose and MMDetection, beside the models of their
own zoos; MMPose's finds people by the one that detects them, unless it is told otherwise.
"""

from collections.abc import Iterator
from pathlib import Path

from mmengine.infer import BaseInferencer
from mmpose.apis.inferencers.utils import default_det_models

ZOO = Path(__file__).parents[1] / 'zoo'
NAME, DETECTOR = 'exlpose', 'exlpose-people'
PACKAGES = {NAME: 'mmpose', DETECTOR: 'mmdet'}
"""Whose inferencers know which name."""


def files_of(name: str) -> tuple[str, str]:
    """The config and the weights of a shipped model."""
    return str(ZOO / f'{name}.py'), str(ZOO / f'{name}.safetensors')


CONFIG, WEIGHTS = files_of(NAME)
DETECTOR_CONFIG, DETECTOR_WEIGHTS = files_of(DETECTOR)

_models_of_metafile = BaseInferencer._get_models_from_metafile


def models_of_metafile(folder: str) -> Iterator[dict]:
    """In place of MMEngine's function of this use: a package's models and, after them, the one of this package.

    Args:
        folder (str): Where a package has its ``model-index.yml``.
    """
    yield from _models_of_metafile(folder)
    for name, package in PACKAGES.items():
        if folder == BaseInferencer._get_repo_or_mim_dir(package):
            config, weights = files_of(name)
            yield dict(Name=name, Config=config, Weights=weights)


BaseInferencer._get_models_from_metafile = staticmethod(models_of_metafile)
# By the module of the data set that a config names.
default_det_models['exlpose'] = dict(model=DETECTOR, weights=None, cat_ids=(0,))
