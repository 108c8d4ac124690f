"""A test of detector and pose estimator together, beside one on annotated boxes."""

import os.path as osp
from collections.abc import Callable, Sequence
from copy import deepcopy

from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpose.registry import DATASETS

from exlpose_mm.apis.detection import detect_people, images_of
from exlpose_mm.datasets.exlpose import ExLPoseDataset
from exlpose_mm.evaluation.metric import LightingCocoMetric
from exlpose_mm.evaluation.results import Results

NOBODY: list[dict] = [dict(bbox=[0.0, 0.0, 1.0, 1.0], score=1e-6, category_id=1)]
"""What a set has in which nobody was found: a box of one pixel, which matches nobody."""


class EndToEndError(ValueError):
    """A config does not test people of ExLPose's layout, or an image cannot be read."""


def sets_of(config: Config) -> list[ExLPoseDataset]:
    """The data sets that a config tests, whole images each.

    Raises:
        EndToEndError: If one of them is none of :class:`~exlpose_mm.ExLPoseDataset`, or the metric none of rows.
        DatasetError: As the data sets.
    """
    metric = config.test_evaluator.get('type') if isinstance(config.test_evaluator, dict) else None
    if metric != LightingCocoMetric.__name__:
        raise EndToEndError(f'{config.filename} tests by {metric}: give it one LightingCocoMetric, which knows splits')
    sets = []
    with DefaultScope.overwrite_default_scope('mmpose'):
        for member in _members(config):
            kind = DATASETS.get(member['type'])
            if kind is None or not issubclass(kind, ExLPoseDataset):
                raise EndToEndError(
                    f'{config.filename} tests a {member["type"]}: boxes are read by ExLPoseDataset only'
                )
            sets.append(DATASETS.build(dict(member, data_mode='bottomup', pipeline=[])))
    return sets


def detect_sets(
    sets: Sequence[ExLPoseDataset],
    detector: BaseDetector,
    folder: str,
    score_thr: float = 0.05,
    progress: Callable[[], None] = lambda: None,
) -> list[str]:
    """Detect people in each data set, and write ``<number>_<split>.json`` for its ``bbox_file``.

    Args:
        sets (Sequence[ExLPoseDataset]): From :func:`sets_of`.
        detector (BaseDetector): From :func:`~exlpose_mm.apis.detection.load_detector`.
        folder (str): Where the files go.
        score_thr (float): Boxes with a lower score are left out.
        progress (Callable): Called after each image.

    Raises:
        EndToEndError: If an image cannot be read.
    """
    files = []
    for number, dataset in enumerate(sets):
        images = images_of(dataset)
        found, errors = detect_people(detector, images, dataset.lighting, score_thr, progress)
        if errors:
            raise EndToEndError('\n'.join(map(str, errors)))
        files.append(osp.join(folder, f'{number}_{dataset.split}.json'))
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
