"""Rows of a table of results, each over the images of its splits, from one pass over the test data."""

import os.path as osp
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.logging import MMLogger
from xtcocotools.coco import COCO

from exlpose_mm.datasets.files import find_annotation
from exlpose_mm.evaluation.people import PersonResults
from exlpose_mm.evaluation.results import MatchedDetections, Results, ordered, text_table
from exlpose_mm.splits import MEANS, ROWS, UNIONS


class SplitError(ValueError):
    """A sample belongs to no row of the table, or not to the row's ground truth, as an image of another size."""


class PredictionError(ValueError):
    """A prediction is not of numbers."""


class RowsMetric(BaseMetric):
    """What a metric becomes one of splits by; it comes before that one among a class's bases.

    ``results`` are pairs whose element :attr:`PREDICTION` is a dict with ``split``, ``img_id`` and ``boxes``. A
    subclass says how to evaluate a row, in :meth:`_evaluate`.
    """

    PREDICTION = 0
    """Place of the prediction in a result."""
    outfile_prefix: str | None
    format_only: bool

    def __init__(
        self,
        ann_files: Mapping[str, str],
        data_root: str | None = None,
        unions: Mapping[str, Sequence[str]] = UNIONS,
        means: Mapping[str, Sequence[str]] = MEANS,
        row_order: Sequence[str] = ROWS,
        table_prefix: str | None = None,
        prefix: str | None = None,
        **kwargs: Any,
    ) -> None:
        # BaseMetric warns of every metric without a prefix; here the row's name is one.
        super().__init__(prefix=prefix or type(self).__name__, **kwargs)
        self.prefix = prefix
        self.data_root = data_root or ''
        self.ann_files = {split: find_annotation(data_root, path) for split, path in ann_files.items()}
        self.ground_truths = {split: self._load_ground_truth(path) for split, path in self.ann_files.items()}
        self.sizes = {
            split: {image['id']: (image.get('width'), image.get('height')) for image in content['images']}
            for split, content in self.ground_truths.items()
        }
        self.unions = {name: tuple(parts) for name, parts in unions.items()}
        self.means = {name: tuple(parts) for name, parts in means.items()}
        self.row_order = tuple(row_order)
        self.table_prefix = table_prefix

    def _load_ground_truth(self, path: str) -> dict:
        """The content of an annotation file, with people of category 1 alone."""
        raise NotImplementedError

    def _evaluate(self, selected: list, parts: Sequence[str]) -> tuple[dict[str, float], MatchedDetections | None]:
        """Columns of a row, and its matches, of the results of its splits; the ground truth is in ``self.coco``."""
        raise NotImplementedError

    def _people(self, preds: Sequence[dict]) -> PersonResults | None:
        """What is recorded of each person; by default nothing."""
        return None

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
        tested = {self._pred(result)['split'] for result in results}
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
        preds = [self._pred(result) for result in results]
        boxes = ', '.join(dict.fromkeys(pred['boxes'] for pred in preds))
        in_order = {row: rows[row] for row in ordered(rows, self.row_order)}
        return Results(in_order, boxes, means, matches, self._people(preds))

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
        selected = [self._renumbered(result, image_ids) for result in results if self._pred(result)['split'] in parts]
        all_rows_prefix = self.outfile_prefix
        self.outfile_prefix = all_rows_prefix and f'{all_rows_prefix}.{row}'
        try:
            # A file, because 'keypoints_crowd' reads the ground truth from disk once more.
            with TemporaryDirectory() as folder, redirect_stdout(StringIO()):
                dump(ground_truth, osp.join(folder, 'ground_truth.json'))
                self.coco = COCO(osp.join(folder, 'ground_truth.json'))
                return self._evaluate(selected, parts)
        finally:
            self.outfile_prefix = all_rows_prefix

    def _pred(self, result: tuple[dict, dict]) -> dict:
        return result[self.PREDICTION]

    def _renumbered(self, result: tuple[dict, dict], image_ids: dict[tuple, int]) -> tuple:
        pred = self._pred(result)
        new = dict(pred, img_id=self._image_id(pred, image_ids))
        return tuple(new if part is pred else part for part in result)

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

    def _write(self, table: Results, log_file: str | None) -> None:
        prefix = self.table_prefix
        if prefix is None and log_file:
            name = f'{self.prefix}_table' if self.prefix else 'table'
            prefix = osp.join(osp.dirname(log_file), name)
        if prefix:
            table.write(prefix)


def _mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return {
        column: float(np.mean([values[column] for values in rows]))
        for column in rows[0]
        if all(column in values for values in rows)
    }


def check_numbers(pred: dict, sample: dict, names: Sequence[str]) -> None:
    """Raise :class:`PredictionError` unless all numbers of a prediction are finite."""
    wrong = [name for name in names if not np.isfinite(pred[name]).all()]
    if wrong:
        raise PredictionError(
            f'the predicted {" and ".join(wrong)} of {sample.get("img_path")} are not finite numbers, from which no AP '
            'can be computed: are there such numbers among the weights, or do they leave the range of fp16?'
        )


def place(path: str, data_root: str) -> dict:
    """An image's path, relative to the data root if it lies inside."""
    try:
        if data_root and path:
            return dict(data_root=data_root, image=str(Path(osp.abspath(path)).relative_to(osp.abspath(data_root))))
    except ValueError:  # it lies elsewhere
        pass
    return dict(data_root='', image=path)
