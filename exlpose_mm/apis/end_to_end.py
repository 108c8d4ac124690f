"""A test of detector and pose estimator together, beside one on annotated boxes."""

import os.path as osp
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpose.registry import DATASETS, TRANSFORMS

from exlpose_mm.apis.detection import detect_people, images_of
from exlpose_mm.datasets.exlpose import ExLPoseDataset
from exlpose_mm.datasets.transforms.darkening import Darken
from exlpose_mm.engine.building import whole_members
from exlpose_mm.evaluation.metric import LightingCocoMetric
from exlpose_mm.evaluation.results import Results
from exlpose_mm.splits import ROW_OF_LEVEL

NOBODY: list[dict] = [dict(bbox=[0.0, 0.0, 1.0, 1.0], score=1e-6, category_id=1)]
"""What a set has in which nobody was found: a box of one pixel, which matches nobody."""


class EndToEndError(ValueError):
    """A config does not test people of ExLPose's layout, or an image cannot be read."""


@dataclass(frozen=True)
class WholeImages:
    """A data set that a config tests, before people are cut out of its images.

    Args:
        dataset (ExLPoseDataset): A sample is an image.
        darken (Darken, optional): What the test makes of it first.
    """

    dataset: ExLPoseDataset
    darken: Darken | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def lighting(self) -> str:
        """Of the pixels that are tested."""
        return 'low_light' if self.darken else self.dataset.lighting

    @property
    def split(self) -> str:
        """The row of the table."""
        return ROW_OF_LEVEL.get(getattr(self.darken, 'level', ''), self.dataset.split)

    def pixels(self, image: np.ndarray, image_id: int) -> np.ndarray:
        """What is tested of an image as it lies in its file; both (H, W, 3) uint8, BGR."""
        return self.darken(dict(img=image, img_id=image_id))['img'] if self.darken else image


def sets_of(config: Config) -> list[WholeImages]:
    """The data sets that a config tests, whole images each.

    Raises:
        EndToEndError: If one of them is none of :class:`~exlpose_mm.ExLPoseDataset`, or is darkened anew in each
            test, or the metric none of rows.
        DatasetError: As the data sets.
    """
    metric = config.test_evaluator.get('type') if isinstance(config.test_evaluator, dict) else None
    if metric != LightingCocoMetric.__name__:
        raise EndToEndError(f'{config.filename} tests by {metric}: give it one LightingCocoMetric, which knows splits')
    sets = []
    with DefaultScope.overwrite_default_scope('mmpose'):
        for member in whole_members(config.test_dataloader.dataset.to_dict()):
            kind = DATASETS.get(member['type'])
            if kind is None or not issubclass(kind, ExLPoseDataset):
                raise EndToEndError(
                    f'{config.filename} tests a {member["type"]}: boxes are read by ExLPoseDataset only'
                )
            dataset = DATASETS.build(dict(member, data_mode='bottomup', pipeline=[]))
            sets.append(WholeImages(dataset, _darkening(member, config)))
    return sets


def _darkening(member: dict, config: Config) -> Darken | None:
    steps = [TRANSFORMS.build(step) for step in member['pipeline'] if _darkens(step)]
    for step in steps:
        if not step.recipe().startswith('{'):
            raise EndToEndError(
                f'{config.filename} tests images that {step.recipe()} darkens anew each time: detector and pose '
                "estimator would see different ones; name a level, as SimulateLowLight(level='exlpose-hard')"
            )
    return steps[0] if steps else None


def _darkens(step: dict) -> bool:
    kind = TRANSFORMS.get(step['type'])
    return isinstance(kind, type) and issubclass(kind, Darken)


def detect_sets(
    sets: Sequence[WholeImages],
    detector: BaseDetector,
    folder: str,
    score_thr: float = 0.05,
    progress: Callable[[], None] = lambda: None,
) -> list[str]:
    """Detect people in each data set, and write ``<number>_<split>.json`` for its ``bbox_file``.

    Args:
        sets (Sequence[WholeImages]): From :func:`sets_of`.
        detector (BaseDetector): From :func:`~exlpose_mm.apis.detection.load_detector`.
        folder (str): Where the files go.
        score_thr (float): Boxes with a lower score are left out.
        progress (Callable): Called after each image.

    Raises:
        EndToEndError: If an image cannot be read.
    """
    files = []
    for number, tested in enumerate(sets):
        images = images_of(tested.dataset)
        found, errors = detect_people(detector, images, tested.lighting, score_thr, progress, tested.pixels)
        if errors:
            raise EndToEndError('\n'.join(map(str, errors)))
        files.append(osp.join(folder, f'{number}_{tested.split}.json'))
        dump(found or [dict(box, image_id=next(iter(images))) for box in NOBODY], files[-1])
    return files


def evaluate_poses(config: Config, checkpoint: str, prefix: str, files: Sequence[str] | None = None) -> Results:
    """Test a pose estimator; the table is written to ``<prefix>.md`` and so on.

    Args:
        config (Config): Is not changed.
        checkpoint (str): Its weights.
        prefix (str): Of the table, and the folder of the log.
        files (Sequence[str], optional): From :func:`detect_sets`. By default people are tested on annotated boxes.
    """
    config = deepcopy(config)
    for member, file in zip(_members(config), files or ()):
        member['bbox_file'] = file
    config.test_evaluator.table_prefix = prefix
    config.work_dir, config.load_from = prefix, checkpoint
    config.experiment_name = osp.basename(prefix)
    Runner.from_cfg(config).test()
    return Results.read(f'{prefix}.json')


def _members(config: Config) -> list[dict]:
    dataset = config.test_dataloader.dataset
    return dataset.get('datasets') or [dataset]
