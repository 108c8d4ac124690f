"""Average precision of each row of the results table, from one pass over the test data."""

import os.path as osp
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from exlpose_mm.datasets.annotations import people_of
from exlpose_mm.datasets.files import DatasetError
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.evaluation.people import PersonResults
from exlpose_mm.evaluation.results import GROUND_TRUTH, MatchedDetections
from exlpose_mm.evaluation.rows import RowsMetric, check_numbers, place
from exlpose_mm.splits import lighting_of_row


@METRICS.register_module()
class LightingCocoMetric(RowsMetric, CocoMetric):
    """COCO keypoint AP and AR per lighting split, over unions of splits, and their means.

    The protocol is the official code's (paper, section 5): OKS with area 0.53 w h, ground
    truth without a labelled joint is ignored, at most 20 people an image, no NMS, and the
    mean score of the joints ranks people. ``num_keypoints`` decides what is ignored in some
    COCO tools and is sometimes wrong in the files, so it is counted anew from v > 0.

    Results, as shares of 1: ``<row>/AP``, ``AP50``, ``AP75``, ``AR`` and, for top-down
    testing on the annotated boxes, ``OKS``: the mean over labelled people of the similarity
    of their own prediction, 0 where there is none.

    The table names the boxes that people were cropped by: ``'ground truth'`` if they are the
    annotated ones; the file's name if samples carry ``bbox_file``, else ``'detected'``; or
    ``'none'`` for bottom-up testing. It is written as :mod:`exlpose_mm.evaluation.results` describes.

    Args:
        ann_files (dict[str, str]): Ground truth of each split that samples may carry.
        data_root (str, optional): If given, ``ann_files`` are found in it by
            :func:`~exlpose_mm.datasets.files.find_annotation`, and images inside of it are recorded
            relative to it.
        unions (Mapping[str, Sequence[str]]): Rows over the people of several splits. Equal image
            ids in two splits are two images. Left out if a part was not tested.
        means (Mapping[str, Sequence[str]]): Rows that are the plain mean of other rows' values.
            Left out if one of them is.
        row_order (Sequence[str]): Order of the table; rows that it does not name follow. It
            may name rows that do not exist. Defaults to the paper's order.
        table_prefix (str, optional): The table is written to ``<table_prefix>.md``, ``.json``,
            ``.npz`` and, on annotated boxes, ``.people.npz``. Defaults to ``table`` (with a
            ``prefix``: ``<prefix>_table``) beside the run's log file, ``<work dir>/<timestamp>/``,
            where each evaluation of a run overwrites the one before; nothing is written if there
            is no log file. ``''``
            writes nothing.
        use_area, iou_type, score_mode, nms_mode, **kwargs: As for
            :class:`mmpose.evaluation.CocoMetric`. ``outfile_prefix`` writes each row's
            predictions to ``<outfile_prefix>.<row>.keypoints.json``; with ``format_only`` that
            is all that happens.

    Raises:
        MissingFileError: If a ground truth file does not exist.
        DatasetError: If a ground truth file cannot be read, or with ``use_area`` has people without an area.
        SplitError: If a sample carries no split, one that is not in ``ann_files``, or an
            image id that its split's file does not know.
    """

    default_prefix = None

    def __init__(
        self,
        ann_files: dict[str, str],
        data_root: str | None = None,
        *,
        use_area: bool = False,
        iou_type: str = 'keypoints',
        score_mode: str = 'keypoint',
        nms_mode: str = 'none',
        **kwargs: Any,
    ) -> None:
        super().__init__(
            ann_files,
            data_root,
            ann_file=None,
            use_area=use_area,
            iou_type=iou_type,
            score_mode=score_mode,
            nms_mode=nms_mode,
            **kwargs,
        )
        # Not None: CocoMetric then leaves the ground truth to this class.
        self.coco = COCO()
        if use_area:
            for split, path in self.ann_files.items():
                _check_areas(self.ground_truths[split], path)

    def process(self, data_batch: Sequence[dict], data_samples: Sequence[dict]) -> None:
        """Remember predictions together with their split, annotation id and kind of boxes.

        Args:
            data_batch (Sequence[dict]): Not used.
            data_samples (Sequence[dict]): With ``split``, ``id``, ``img_id``, ``gt_instances`` and
                ``pred_instances`` of ``keypoints`` (N, K, 2) in pixels of the image and
                ``keypoint_scores`` (N, K); on annotated boxes also ``raw_ann_info``. For
                the record of people ``img_path``, ``lighting`` and ``simulated`` are read, if given.

        Raises:
            SplitError: If ``split`` is missing or unknown, or the image that was loaded (``ori_shape``) has not
                the annotated size.
            PredictionError: If joints or scores are not finite. COCO's tools take a similarity that is not a number
                for a match: 100 % AP.
        """
        splits = [self._split_of(sample) for sample in data_samples]
        first = len(self.results)
        super().process(data_batch, data_samples)
        for (pred, _), sample, split in zip(self.results[first:], data_samples, splits):
            self._check_size(sample, split)
            check_numbers(pred, sample, ('keypoints', 'keypoint_scores'))
            boxes = _boxes_of(sample)
            pred.update(
                split=split,
                boxes=boxes,
                category_id=1,
                annotation_id=sample['id'] if boxes == GROUND_TRUTH else None,
                lighting=sample.get('lighting') or lighting_of_row(split),
                simulated=sample.get('simulated', ''),
                **place(sample.get('img_path', ''), self.data_root),
            )

    def _load_ground_truth(self, path: str) -> dict:
        return _load_ground_truth(path)

    def _evaluate(self, selected: list, parts: Sequence[str]) -> tuple[dict[str, float], MatchedDetections | None]:
        stats = CocoMetric.compute_metrics(self, selected)
        matches = stats.pop('matches', None)  # nothing is evaluated with format_only
        values = {column: float(value) for column, value in stats.items()}
        oks = self._mean_oks(parts, [pred for pred, _ in selected])
        return values if oks is None else {**values, 'OKS': oks}, matches

    def _do_python_keypoint_eval(self, outfile_prefix: str) -> list:
        """Do as CocoMetric does, and keep the matches of detections and people."""
        detections = self.coco.loadRes(f'{outfile_prefix}.keypoints.json')
        evaluation = COCOeval(self.coco, detections, self.iou_type, self.dataset_meta['sigmas'], self.use_area)
        evaluation.evaluate()
        evaluation.accumulate()
        matches = MatchedDetections.of(
            evaluation, [self.coco.imgs[image_id]['file_name'] for image_id in evaluation.params.imgIds]
        )
        evaluation.summarize()
        recall = 3 if self.iou_type == 'keypoints_crowd' else 5
        return [*zip(('AP', 'AP50', 'AP75', 'AR'), evaluation.stats[[0, 1, 2, recall]]), ('matches', matches)]

    def _mean_oks(self, parts: Sequence[str], preds: Sequence[dict]) -> float | None:
        """Mean OKS of labelled people and their own predictions; None if not top-down."""
        if not self._are_own(preds):
            return None
        own = {(pred['split'], pred['annotation_id']): pred['keypoints'][0] for pred in preds}
        similarities = [
            self._oks(own.get((split, annotation['id'])), annotation)
            for split in parts
            for annotation in self.ground_truths[split]['annotations']
            if annotation['num_keypoints'] and not annotation['iscrowd']
        ]
        return float(np.mean(similarities)) if similarities else None

    def _are_own(self, preds: Sequence[dict]) -> bool:
        """Whether each prediction is of an annotated person, and of its joints."""
        converted = self.pred_converter or self.gt_converter
        return not converted and all(pred['annotation_id'] is not None for pred in preds)

    def _people(self, preds: Sequence[dict]) -> PersonResults | None:
        """Labelled people who have a prediction; None if not top-down on annotated boxes."""
        if self.format_only or not self._are_own(preds):
            return None
        own = {(pred['split'], pred['annotation_id']): pred for pred in preds}
        entries = [
            dict(
                {key: pred[key] for key in ('split', 'lighting', 'data_root', 'image', 'simulated', 'annotation_id')},
                image_id=annotation['image_id'],
                box=annotation['bbox'],
                keypoints=pred['keypoints'][0, :, :2],
                scores=pred['keypoint_scores'][0],
                labels=np.reshape(annotation['keypoints'], (-1, 3)),
                oks=self._oks(pred['keypoints'][0], annotation),
            )
            for split in self.ann_files
            for annotation in self.ground_truths[split]['annotations']
            for pred in [own.get((split, annotation['id']))]
            if pred and annotation['num_keypoints'] and not annotation['iscrowd']
        ]
        names = self.dataset_meta['keypoint_id2name']
        joints = [names[index] for index in range(len(names))]
        return PersonResults.of(entries, joints, self.dataset_meta['skeleton_links']) if entries else None

    def _oks(self, keypoints: np.ndarray | None, annotation: dict) -> float:
        """Object keypoint similarity of (K, 2) keypoints and an annotation."""
        if keypoints is None:
            return 0.0
        labels = np.reshape(annotation['keypoints'], (-1, 3))
        width, height = annotation['bbox'][2:]
        area = annotation['area'] if self.use_area else 0.53 * width * height
        distances = np.square(keypoints[:, :2] - labels[:, :2]).sum(axis=1)
        variances = np.square(2 * np.asarray(self.dataset_meta['sigmas'], dtype=np.float64))
        similarities = np.exp(-distances / (2 * variances * (area + np.spacing(1))))
        return float(similarities[labels[:, 2] > 0].mean())


def _boxes_of(sample: dict) -> str:
    annotation = sample.get('raw_ann_info')
    if isinstance(sample['id'], (list, tuple)):
        return 'none'
    if isinstance(annotation, dict) and annotation['id'] == sample['id']:
        return GROUND_TRUTH
    return osp.basename(sample.get('bbox_file') or 'detected')


def _check_areas(ground_truth: dict, path: str) -> None:
    for person in ground_truth['annotations']:
        area = person.get('area')
        if person['num_keypoints'] and not (isinstance(area, Real) and 0 < float(area) < np.inf):
            raise DatasetError(
                f'{path}: annotation {person["id"]} has the area {area!r}, which use_area=True takes for the scale of '
                'the person; use_area=False takes 0.53 times the area of the box'
            )


def _load_ground_truth(path: str) -> dict:
    """Load an annotation file; joints are counted anew, annotations without image left out.

    People without joints may lack ``keypoints`` and ``bbox``, and the file ``categories``. Whatever category is people
    becomes 1, as predictions are; others are left out.
    """
    dataset = read_annotations(path)
    known = {image['id'] for image in dataset['images']}
    annotations = [annotation for annotation in people_of(dataset, path) if annotation['image_id'] in known]
    unlabelled = max((len(annotation.get('keypoints') or ()) for annotation in annotations), default=0) * [0]
    dataset['annotations'] = [
        dict(
            annotation,
            category_id=1,
            iscrowd=annotation.get('iscrowd', 0),
            keypoints=annotation.get('keypoints') or unlabelled,
            bbox=annotation.get('bbox') or 4 * [0],
            num_keypoints=sum(v > 0 for v in (annotation.get('keypoints') or ())[2::3]),
        )
        for annotation in annotations
    ]
    dataset['categories'] = [dict(id=1, name='person')]
    return dataset
