"""The data of a config in one line: stock MMPose's in simulated darkness, or pairs of one's own.

Each gives ``train_dataloader, val_dataloader, test_dataloader, val_evaluator, test_evaluator`` for a config in text,
which merges them into those of its base.
"""

from collections.abc import Sequence
from copy import deepcopy

from mmengine.config import Config
from mmpose.registry import DATASETS

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
"""Steps that change colours as they are in the light; the camera's darkness takes their place."""
ROWS = {'LL-N': 'normal', 'LL-H': 'hard', 'LL-E': 'extreme'}
NORMALISE = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')])


Parts = tuple[dict, dict, dict, dict, dict]


def in_the_dark(config: Config, level: str | Sequence[float] = 'exlpose') -> Parts:
    """Loaders and evaluators of a stock top-down config, with a camera that makes the dark images.

    Training gets pairs of an image and its simulated darkness. Validation and test see the same people at each of the
    levels ``exlpose-normal``, ``exlpose-hard`` and ``exlpose-extreme`` and well lit, and give a row of AP for each. For
    a config in text, whose base the stock config is::

        train_dataloader, val_dataloader, test_dataloader, val_evaluator, test_evaluator = in_the_dark(_base_)

    Augmentations of colour (:data:`OF_ONE_LIGHT`) are left out.

    Args:
        config (Config): With ``train_dataloader``, ``val_dataloader`` and ``val_evaluator``.
        level (str | Sequence[float]): Of the training, as for :class:`~exlpose_mm.SimulateLowLight`.

    Raises:
        ValueError: If a pipeline has a step of which it is not known whether it takes pairs; names it.
    """
    train, val = deepcopy(config.train_dataloader.dataset), deepcopy(config.val_dataloader.dataset)
    load = dict(type='LoadLabelledImage')
    darken = dict(type='SimulateLowLight', level=level)
    train.update(_delete_=True, pipeline=_paired(train.pipeline, [load, darken, NORMALISE]))
    pipeline = _paired(val.pop('pipeline'), [load, dict(type='TagLighting'), NORMALISE])
    rows = [[load, dict(type='SimulateLowLight', level=f'exlpose-{name}', paired=False)] for name in ROWS.values()] + [
        [dict(type='TagLighting', lighting='well_lit')]
    ]
    metainfo = val.get('metainfo') or DATASETS.get(val.type).METAINFO
    test = dict(
        _delete_=True,
        type='CombinedDataset',
        metainfo=metainfo,
        datasets=[dict(val, pipeline=row) for row in rows],
        pipeline=pipeline,
    )
    evaluator = dict(
        _delete_=True,
        type='LightingCocoMetric',
        data_root=val.data_root,
        ann_files=dict.fromkeys([*ROWS, 'WL'], val.ann_file),
        use_area=config.val_evaluator.get('use_area', True),
    )
    loading = dict(
        batch_sampler=dict(type='SeededBatchSampler', drop_last=True),
        collate_fn=dict(type='stack_views'),
        pin_memory=True,
        dataset=train,
    )
    return loading, *_twice(dict(dataset=test)), *_twice(evaluator)


def own_pairs(data_root: str, train: str, val: str, metainfo: dict | None = None, **dataset) -> Parts:
    """Loaders and evaluators of pairs, for a config whose base trains on :class:`~exlpose_mm.ExLPoseDataset`.

    Images lie in ``dark/`` and ``bright/`` below the root and are paired as that class describes. Validation and test
    give the rows LL-A, of the dark images, and WL, of their partners.

    Args:
        data_root (str): The folder.
        train (str): Annotation file of the training, of images of either lighting.
        val (str): The same of validation and test.
        metainfo (dict, optional): Of other joints than ExLPose's 14, as ``dict(from_file=...)``.
        **dataset: Further arguments of the data set, as ``pair_file``.
    """
    dataset.update(data_root=data_root, **({} if metainfo is None else dict(metainfo=metainfo)))
    rows = [('low_light', 'LL-A'), ('well_lit', 'WL')]
    people = dict(type='ExLPoseDataset', ann_file=val, test_mode=True, **dataset)
    test = dict(datasets=[dict(people, lighting=name, split=row) for name, row in rows])
    if metainfo is not None:
        test['metainfo'] = metainfo
    evaluator = dict(data_root=data_root, ann_files=dict(_delete_=True, **{row: val for _, row in rows}))
    return dict(dataset=dict(ann_file=train, **dataset)), *_twice(dict(dataset=test)), *_twice(evaluator)


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
