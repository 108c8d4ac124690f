"""Average precision of each row of the results table, from one pass over the test data."""

import os.path as osp
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmengine.fileio import dump
from mmengine.logging import MMLogger
from mmpose.evaluation.metrics import CocoMetric
from mmpose.registry import METRICS
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from exlpose_mm.datasets.annotations import people_of
from exlpose_mm.datasets.exlpose import find_annotation
from exlpose_mm.datasets.files import DatasetError
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.evaluation.people import PersonResults
from exlpose_mm.evaluation.results import GROUND_TRUTH, MatchedDetections, Results, ordered, text_table
from exlpose_mm.splits import MEANS, ROWS, UNIONS, lighting_of_row


class SplitError(ValueError):
    """A sample belongs to no row of the table, or not to the row's ground truth, as an image of another size."""


class PredictionError(ValueError):
    """A prediction is not of numbers."""


@METRICS.register_module()
class LightingCocoMetric(CocoMetric):
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
    outfile_prefix: str | None

    def __init__(
        self,
        ann_files: dict[str, str],
        data_root: str | None = None,
        unions: Mapping[str, Sequence[str]] = UNIONS,
        means: Mapping[str, Sequence[str]] = MEANS,
        row_order: Sequence[str] = ROWS,
        table_prefix: str | None = None,
        use_area: bool = False,
        iou_type: str = 'keypoints',
        score_mode: str = 'keypoint',
        nms_mode: str = 'none',
        prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        # BaseMetric warns of every metric without a prefix; here the row's name is one.
        super().__init__(
            ann_file=None,
            use_area=use_area,
            iou_type=iou_type,
            score_mode=score_mode,
            nms_mode=nms_mode,
            prefix=prefix or type(self).__name__,
            **kwargs,
        )
        self.prefix = prefix
        # Not None: CocoMetric then leaves the ground truth to this class.
        self.coco = COCO()
        self.data_root = data_root or ''
        self.ann_files = {split: find_annotation(data_root, path) for split, path in ann_files.items()}
        self.ground_truths = {split: _load_ground_truth(path) for split, path in self.ann_files.items()}
        self.sizes = {
            split: {image['id']: (image.get('width'), image.get('height')) for image in content['images']}
            for split, content in self.ground_truths.items()
        }
        if use_area:
            for split, path in self.ann_files.items():
                _check_areas(self.ground_truths[split], path)
        self.unions = {name: tuple(parts) for name, parts in unions.items()}
        self.means = {name: tuple(parts) for name, parts in means.items()}
        self.row_order = tuple(row_order)
        self.table_prefix = table_prefix

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
            _check_numbers(pred, sample)
            boxes = _boxes_of(sample)
            pred.update(
                split=split,
                boxes=boxes,
                category_id=1,
                annotation_id=sample['id'] if boxes == GROUND_TRUTH else None,
                lighting=sample.get('lighting') or lighting_of_row(split),
                simulated=sample.get('simulated', ''),
                **_place(sample.get('img_path', ''), self.data_root),
            )

    def _split_of(self, sample: dict) -> str:
        split = sample.get('split')
        if split is None:
            raise SplitError(
                f'the sample {sample.get("img_path")} carries no "split": ExLPoseDataset or '
                'SimulateLowLight sets it, and PackPairedInputs (or PackPoseInputs with "split" '
                'in its meta_keys) hands it on'
            )
        if split not in self.ground_truths:
            raise SplitError(
                f'no ground truth for split {split!r} of {sample.get("img_path")}: '
                f'ann_files has {tuple(self.ground_truths)}'
            )
        return split

    def _check_size(self, sample: dict, split: str) -> None:
        if 'ori_shape' not in sample:
            return
        size, annotated = tuple(sample['ori_shape'][1::-1]), self.sizes[split].get(sample['img_id'])
        if annotated not in (None, (None, None), size):
            raise SplitError(
                f'{sample.get("img_path")} was loaded with {size[0]} x {size[1]} pixels, but {self.ann_files[split]} '
                f'annotates {annotated[0]} x {annotated[1]}: its joints lie elsewhere; take the images that the file '
                'is of and, if they are turned by their EXIF data, LoadLabelledImage'
            )

    def compute_metrics(self, results: list[tuple[dict, dict]]) -> dict[str, float]:
        """Compute ``<row>/<column>`` of each row, and log and write the table.

        Raises:
            SplitError: If a prediction's image is not in the ground truth of its split.
        """
        table = self._tabulate(results)
        if self.format_only:
            return {}
        if table.rows:
            logger = MMLogger.get_current_instance()
            logger.info(f'{table.caption}\n{text_table(table.cells())}')
            self._write(table, logger.log_file)
        return {f'{row}/{column}': value for row, values in table.rows.items() for column, value in values.items()}

    def _tabulate(self, results: list) -> Results:
        tested = {pred['split'] for pred, _ in results}
        parts_of = {**self.unions, **{split: (split,) for split in self.ann_files}}
        evaluated = {
            row: self._evaluate_row(row, parts, results)
            for row, parts in parts_of.items()
            if self._is_complete(row, parts, tested)
        }
        rows = {row: values for row, (values, _) in evaluated.items()}
        matches = {row: found for row, (_, found) in evaluated.items() if found is not None}
        means = {row: parts for row, parts in self.means.items() if self._is_complete(row, parts, rows)}
        rows.update((row, _mean([rows[part] for part in parts])) for row, parts in means.items())
        boxes = ', '.join(dict.fromkeys(pred['boxes'] for pred, _ in results))
        in_order = {row: rows[row] for row in ordered(rows, self.row_order)}
        return Results(in_order, boxes, means, matches, self._people([pred for pred, _ in results]))

    def _is_complete(self, row: str, parts: Sequence[str], tested: Iterable[str]) -> bool:
        missing = [part for part in parts if part not in tested]
        known = {*self.ann_files, *self.unions}
        if missing and known.intersection(parts):
            MMLogger.get_current_instance().info(f'{row} is left out: no sample of {", ".join(missing)} was tested')
        return not missing

    def _evaluate_row(
        self, row: str, parts: Sequence[str], results: list
    ) -> tuple[dict[str, float], MatchedDetections | None]:
        ground_truth, image_ids = self._merge(parts)
        selected = [
            (dict(pred, img_id=self._image_id(pred, image_ids)), gt) for pred, gt in results if pred['split'] in parts
        ]
        all_rows_prefix = self.outfile_prefix
        self.outfile_prefix = all_rows_prefix and f'{all_rows_prefix}.{row}'
        try:
            # A file, because 'keypoints_crowd' reads the ground truth from disk once more.
            with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
                dump(ground_truth, osp.join(folder, 'ground_truth.json'))
                self.coco = COCO(osp.join(folder, 'ground_truth.json'))
                stats = super().compute_metrics(selected)
        finally:
            self.outfile_prefix = all_rows_prefix
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

    def _image_id(self, pred: dict, image_ids: dict[tuple, int]) -> int:
        split, image_id = pred['split'], pred['img_id']
        if (image_id, split) not in image_ids:
            raise SplitError(f'image {image_id} of split {split!r} is not in its ground truth {self.ann_files[split]}')
        return image_ids[image_id, split]

    def _merge(self, parts: Sequence[str]) -> tuple[dict, dict[tuple, int]]:
        """Join the ground truths of splits under new ids.

        Images are numbered in the order of (id, split). Ties between scores fall in this
        order; for splits with disjoint ids it is that of one file with all of them.

        Returns:
            tuple: The joint ground truth, and the new id of each (image id, split).
        """
        images = {(image['id'], split): image for split in parts for image in self.ground_truths[split]['images']}
        image_ids = {key: number for number, key in enumerate(sorted(images), 1)}
        annotations = [
            dict(annotation, image_id=image_ids[annotation['image_id'], split])
            for split in parts
            for annotation in self.ground_truths[split]['annotations']
        ]
        joint = dict(
            images=[dict(images[key], id=number) for key, number in image_ids.items()],
            annotations=[dict(annotation, id=number) for number, annotation in enumerate(annotations, 1)],
            categories=self.ground_truths[parts[0]]['categories'],
        )
        return joint, image_ids

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

    def _write(self, table: Results, log_file: str | None) -> None:
        prefix = self.table_prefix
        if prefix is None and log_file:
            name = f'{self.prefix}_table' if self.prefix else 'table'
            prefix = osp.join(osp.dirname(log_file), name)
        if prefix:
            table.write(prefix)


def _check_numbers(pred: dict, sample: dict) -> None:
    wrong = [name for name in ('keypoints', 'keypoint_scores') if not np.isfinite(pred[name]).all()]
    if wrong:
        raise PredictionError(
            f'the predicted {" and ".join(wrong)} of {sample.get("img_path")} are not finite numbers, from which no AP '
            'can be computed: are there such numbers among the weights, or do they leave the range of fp16?'
        )


def _boxes_of(sample: dict) -> str:
    annotation = sample.get('raw_ann_info')
    if isinstance(sample['id'], (list, tuple)):
        return 'none'
    if isinstance(annotation, dict) and annotation['id'] == sample['id']:
        return GROUND_TRUTH
    return osp.basename(sample.get('bbox_file') or 'detected')


def _place(path: str, data_root: str) -> dict:
    """An image's path, relative to the data root if it lies inside."""
    try:
        if data_root and path:
            return dict(data_root=data_root, image=str(Path(osp.abspath(path)).relative_to(osp.abspath(data_root))))
    except ValueError:  # it lies elsewhere
        pass
    return dict(data_root='', image=path)


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {
        column: float(np.mean([values[column] for values in rows]))
        for column in rows[0]
        if all(column in values for values in rows)
    }


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
