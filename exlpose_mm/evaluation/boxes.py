"""Average precision of a detector's boxes for each row of the results table."""

import os.path as osp
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmdet.datasets.api_wrappers import COCO, COCOeval
from mmdet.evaluation.metrics import CocoMetric
from mmengine.fileio import load
from mmpose.registry import METRICS

from exlpose_mm.datasets.annotations import box_problem, people_of
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.evaluation.results import MatchedDetections, Results
from exlpose_mm.evaluation.rows import RowsMetric, check_numbers

PERSON = 'person'


@METRICS.register_module()
class LightingBoxMetric(RowsMetric, CocoMetric):
    """COCO box AP and AR of people per lighting split; the sibling of :class:`~exlpose_mm.LightingCocoMetric`.

    The protocol is COCO's: intersection over union from 0.5 to 0.95, at most 100 boxes an image, crowds are ignored.
    Everybody with a box in the frame is to be found, whether joints are labelled or not.

    Results, as shares of 1: ``<row>/AP``, ``AP50``, ``AP75``, ``AR``. The table is written as that of joints.

    Args:
        ann_files, data_root, unions, means, row_order, table_prefix, prefix: As for
            :class:`~exlpose_mm.LightingCocoMetric`.
        **kwargs: As for :class:`mmdet.evaluation.CocoMetric`. ``outfile_prefix`` writes each row's predictions to
            ``<outfile_prefix>.<row>.bbox.json``; with ``format_only`` that is all that happens.

    Raises:
        MissingFileError: If a ground truth file does not exist.
        DatasetError: If a ground truth file cannot be read.
        SplitError: As :class:`~exlpose_mm.LightingCocoMetric`.
    """

    PREDICTION = 1
    MOST = 100
    """Boxes of an image that count."""
    default_prefix = None

    def __init__(self, ann_files: dict[str, str], data_root: str | None = None, **kwargs: Any) -> None:
        super().__init__(ann_files, data_root, **kwargs)
        self._coco_api = self.coco = COCO()  # not None: CocoMetric then leaves the ground truth to this class
        self.cat_ids = [1]

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Remember the boxes of people together with their split.

        Args:
            data_batch (dict): Not used.
            data_samples (Sequence[dict]): With ``split``, ``img_id``, ``ori_shape`` and ``pred_instances`` of
                ``bboxes`` (N, 4), x1 y1 x2 y2 in pixels of the image, ``scores`` and ``labels`` (N, ).

        Raises:
            SplitError, PredictionError: As :class:`~exlpose_mm.LightingCocoMetric`.
        """
        splits = [self._split_of(sample) for sample in data_samples]
        first = len(self.results)
        super().process(data_batch, data_samples)
        person = self.dataset_meta['classes'].index(PERSON)
        for (_, pred), sample, split in zip(self.results[first:], data_samples, splits):
            self._check_size(sample, split)
            check_numbers(pred, sample, ('bboxes', 'scores'))
            rows = pred['labels'] == person
            pred.update(
                {key: pred[key][rows] for key in ('bboxes', 'scores')},
                labels=np.zeros(rows.sum(), dtype=int),
                split=split,
                boxes='detected',
            )

    def _tabulate(self, results: list) -> Results:
        table = super()._tabulate(results)
        table.measured = 'boxes'
        return table

    def _evaluate(self, selected: list, parts: Sequence[str]) -> tuple[dict[str, float], MatchedDetections | None]:
        with TemporaryDirectory() as folder:
            prefix = self.outfile_prefix or osp.join(folder, 'results')
            found = load(self.results2json([pred for _, pred in selected], prefix)['bbox'])
        if self.format_only:
            return {}, None
        evaluation = COCOeval(self.coco, _as_coco(found, self.coco), 'bbox')
        evaluation.params.maxDets = [1, 10, self.MOST]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        for image in filter(None, evaluation.evalImgs):
            image['dtMatches'][image['dtMatches'] == 0] = -1  # ids of people are from 1 on; 0 is nobody
        matches = MatchedDetections.of(
            evaluation, [self.coco.imgs[image_id]['file_name'] for image_id in evaluation.params.imgIds]
        )
        return dict(zip(('AP', 'AP50', 'AP75', 'AR'), map(float, evaluation.stats[[0, 1, 2, 8]]))), matches

    def _load_ground_truth(self, path: str) -> dict:
        """People with a box in the frame, as category 1."""
        content = read_annotations(path)
        sizes = {image['id']: (image['width'], image['height']) for image in content['images']}
        content['annotations'] = [
            dict(annotation, category_id=1, iscrowd=annotation.get('iscrowd', 0), area=_area(annotation['bbox']))
            for annotation in people_of(content, path)
            if annotation['image_id'] in sizes and box_problem(annotation, sizes[annotation['image_id']]) is None
        ]
        content['categories'] = [dict(id=1, name=PERSON)]
        return content


def _area(box: Sequence[float]) -> float:
    return box[2] * box[3]


def _as_coco(found: list[dict], truth: COCO) -> COCO:
    """Detections as COCO's tools take them, of which there may be none."""
    detections = COCO()
    detections.dataset = dict(
        truth.dataset,
        annotations=[
            dict(detection, id=number, area=_area(detection['bbox']), iscrowd=0)
            for number, detection in enumerate(found, 1)
        ],
    )
    detections.createIndex()
    return detections
