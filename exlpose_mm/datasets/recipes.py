"""The data of a config in one line: stock MMPose's in simulated darkness, or pairs of one's own.

Each gives ``data_root, train_dataloader, val_dataloader, test_dataloader, val_evaluator, test_evaluator``, which a
config in text merges into those of its base.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from mmengine.config import Config
from mmpose.registry import DATASETS

from exlpose_mm.splits import ALL_LOW_LIGHT, ROW_OF_LEVEL, WELL_LIT, lighting_of_row

SHARED = (
    'GetBBoxCenterScale',
    'RandomFlip',
    'RandomHalfBody',
    'RandomBBoxTransform',
    'TopdownAffine',
    'GenerateTarget',
)
"""Steps that take both images of a pair alike."""
OF_ONE_LIGHT = ('Albumentation', 'PhotometricDistortion', 'YOLOXHSVRandomAug')
"""Steps that change colours, blur or cut out as suits the light; the camera's darkness takes their place."""
LEVELS = {row: level for level, row in ROW_OF_LEVEL.items() if level.startswith('exlpose-')}
"""Row of the table to the level of ExLPose's camera."""
LOAD = dict(type='LoadLabelledImage')
NORMALISE = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')])


Parts = tuple[str, dict, dict, dict, dict, dict]


def in_the_dark(config: Config, level: str | Sequence[float] = 'exlpose') -> Parts:
    """The data of a stock top-down config, with a camera that makes the dark images.

    Training gets pairs of an image and its simulated darkness. Validation and test see the same people at each of the
    levels ``exlpose-normal``, ``exlpose-hard`` and ``exlpose-extreme`` and well lit, and give a row of AP for each. A
    config in text gives ``_base_`` if the stock config is its base. Augmentations for the light (:data:`OF_ONE_LIGHT`)
    are left out. Tests are on annotated boxes: those of a ``bbox_file`` were found in the light.

    Args:
        config (Config): With ``train_dataloader``, ``val_dataloader`` and ``val_evaluator``; is not changed.
        level (str | Sequence[float]): Of the training, as for :class:`~exlpose_mm.SimulateLowLight`.

    Raises:
        ValueError: If a pipeline has a step of which it is not known whether it takes pairs; names it.
    """
    people = deepcopy(config.val_dataloader.dataset)
    people.pop('bbox_file', None)
    evaluator = dict(
        _delete_=True,
        type='LightingCocoMetric',
        data_root=people.data_root,
        ann_files=dict.fromkeys([*LEVELS, WELL_LIT], people.ann_file),
        use_area=config.val_evaluator.get('use_area', True),
    )
    training = dict(
        batch_sampler=dict(type='SeededBatchSampler', drop_last=True),
        collate_fn=dict(type='stack_views'),
        pin_memory=True,
        dataset=_darkened(deepcopy(config.train_dataloader.dataset), level),
    )
    return people.data_root, training, *_twice(dict(dataset=_by_rows(people))), *_twice(evaluator)


def _darkened(people: dict, level: str | Sequence[float]) -> dict:
    loading: list[dict] = [LOAD, dict(type='SimulateLowLight', level=level), NORMALISE]
    return dict(people, _delete_=True, pipeline=_paired(people['pipeline'], loading))


def _by_rows(people: dict) -> dict:
    """The same people once for each row of the table."""
    darken: list[list[dict]] = [
        [LOAD, dict(type='SimulateLowLight', level=level, paired=False)] for level in LEVELS.values()
    ]
    return dict(
        _delete_=True,
        type='CombinedDataset',
        metainfo=people.get('metainfo') or DATASETS.get(people['type']).METAINFO,
        datasets=[dict(people, pipeline=row) for row in (*darken, [dict(type='TagLighting', lighting='well_lit')])],
        pipeline=_paired(people['pipeline'], [LOAD, dict(type='TagLighting'), NORMALISE]),
    )


def own_pairs(data_root: str, train: str, val: str, metainfo: dict | None = None, **dataset: Any) -> Parts:
    """Pairs as :class:`~exlpose_mm.ExLPoseDataset` finds them, for a config whose base trains on that class.

    Validation and test give the rows LL-A, of the dark images, and WL, of their partners.

    Args:
        data_root (str): The folder, with ``dark/`` and ``bright/``.
        train (str): Annotation file of the training, of images of either lighting.
        val (str): The same of validation and test.
        metainfo (dict, optional): Of other joints than ExLPose's 14, as ``dict(from_file=...)``.
        **dataset: Further arguments of the data set, as ``pair_file``.
    """
    dataset.update(data_root=data_root, **({} if metainfo is None else dict(metainfo=metainfo)))
    rows = {row: lighting_of_row(row) for row in (ALL_LOW_LIGHT, WELL_LIT)}
    people = dict(type='ExLPoseDataset', ann_file=val, test_mode=True, **dataset)
    test: dict = dict(datasets=[dict(people, lighting=name, split=row) for row, name in rows.items()])
    if metainfo is not None:
        test['metainfo'] = metainfo
    evaluator = dict(data_root=data_root, ann_files=dict(_delete_=True, **dict.fromkeys(rows, val)))
    training = dict(dataset=dict(ann_file=train, **dataset))
    return data_root, training, *_twice(dict(dataset=test)), *_twice(evaluator)


def _twice(part: dict) -> tuple[dict, dict]:
    """For validation and test: mmengine takes `_delete_` out of what it has merged, so they are no one object."""
    return deepcopy(part), deepcopy(part)


def _paired(pipeline: Sequence[dict], loading: Sequence[dict]) -> list[dict]:
    """A stock pipeline that loads otherwise and takes pairs."""
    steps: list[dict] = []
    for step in pipeline:
        kind = step['type'].rpartition('.')[2]
        if kind == 'LoadImage':
            steps += loading
        elif kind == 'PackPoseInputs':
            steps.append(dict(step, type='PackPairedInputs'))
        elif kind in SHARED:
            steps.append(step)
        elif kind not in OF_ONE_LIGHT:
            raise ValueError(
                f'in_the_dark knows no step {step["type"]}: write the pipeline with its steps yourself, and those that '
                "change colours inside dict(type='OnLighting', lighting='well_lit', transforms=[...])"
            )
    return steps
