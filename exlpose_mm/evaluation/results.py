"""What a test leaves behind: a table for people and programs, and what its AP came from.

Files with one prefix: ``.md``, a table in percent; ``.json``, the same as shares of 1::

    {"boxes": "ground truth",
     "measured": "joints",
     "means": {"OCN": ["A7M3", "RICOH3"]},
     "rows": {"LL-N": {"AP": 0.423, "AP50": 0.7, "AP75": 0.4, "AR": 0.5, "OKS": 0.6}, ...}}

(readers ignore keys they do not know); ``.npz``, the :class:`MatchedDetections` of each row as
arrays ``<row>/<attribute>``, from which AP can be computed again without the data; and, of a
test on annotated boxes, ``.people.npz``, each person's prediction and labels
(:class:`~exlpose_mm.evaluation.people.PersonResults`).

Legend of shapes: I images, D detections, T OKS thresholds.
"""

import json
import os
import os.path as osp
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any
from zipfile import BadZipFile

import numpy as np
from xtcocotools.cocoeval import COCOeval

from exlpose_mm.evaluation.people import PeopleError, PersonResults
from exlpose_mm.splits import ALL_LOW_LIGHT, ROWS
from exlpose_mm.writing import markdown_table

GROUND_TRUTH = 'ground truth'
RECALL_LEVELS = np.linspace(0, 1, 101)
_COLUMNS = {'AP': 'AP', 'AP .5': 'AP50', 'AP50': 'AP50', 'AP .75': 'AP75', 'AP75': 'AP75', 'AR': 'AR', 'OKS': 'OKS'}
_HINT = "give a table.json, or the test script's --out"


class ResultsError(ValueError):
    """A file holds no test results."""


def ordered(rows: Iterable[str], order: Sequence[str] = ROWS) -> list[str]:
    """Sort rows by their place in ``order``; others follow as they come."""
    rows = list(dict.fromkeys(rows))
    return [*(row for row in order if row in rows), *(row for row in rows if row not in order)]


@dataclass(frozen=True)
class MatchedDetections:
    """The detections of a row as COCOeval matched them with people: all that AP depends on.

    Attributes:
        images (np.ndarray): (I,) file names.
        people (np.ndarray): (I,) how many people of an image are to be found.
        owners (np.ndarray): (D,) index of a detection's image.
        scores (np.ndarray): (D,), falling.
        outcomes (np.ndarray): (T, D) int8: 1 right, -1 wrong, 0 does not count, because the
            detection fell on a person who is ignored.
    """

    images: np.ndarray
    people: np.ndarray
    owners: np.ndarray
    scores: np.ndarray
    outcomes: np.ndarray

    @classmethod
    def of(cls, evaluation: COCOeval, images: Sequence[str]) -> 'MatchedDetections':
        """Take over what ``evaluation.evaluate()`` found for the first category.

        Args:
            evaluation (COCOeval): Before ``summarize()``, which overwrites it for CrowdPose.
            images (Sequence[str]): File names in the order of the image ids.
        """
        found = [(owner, image) for owner, image in enumerate(evaluation.evalImgs[: len(images)]) if image is not None]
        people = np.zeros(len(images), dtype=np.int64)
        for owner, image in found:
            people[owner] = np.count_nonzero(np.equal(image['gtIgnore'], 0))
        owners = [owner for owner, image in found for _ in image['dtScores']]
        scores = np.array([score for _, image in found for score in image['dtScores']])
        outcomes = [np.where(image['dtIgnore'], 0, np.where(image['dtMatches'] >= 0, 1, -1)) for _, image in found]
        order = np.argsort(-scores, kind='stable')
        return cls(
            images=np.array(images, dtype=str),
            people=people,
            owners=np.array(owners, dtype=np.int64)[order],
            scores=scores[order],
            outcomes=np.concatenate(outcomes, axis=1).astype(np.int8)[:, order],
        )

    def average_precision(self, weights: np.ndarray | None = None) -> float:
        """Compute OKS AP, averaged over thresholds and 101 recall levels.

        Args:
            weights (np.ndarray, optional): (I,) how many times each image counts: the same as
                if it were so many times in the data set. Defaults to once.

        Returns:
            float: A share of 1; nan if there is nobody to be found.
        """
        weights = np.ones(len(self.images)) if weights is None else np.asarray(weights)
        people = weights @ self.people
        if not people:
            return float('nan')
        counts = weights[self.owners]
        right = np.cumsum((self.outcomes > 0) * counts, axis=1)
        wrong = np.cumsum((self.outcomes < 0) * counts, axis=1)
        precision = right / (right + wrong + np.spacing(1))
        best_from_here = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best_from_here = np.pad(best_from_here, ((0, 0), (0, 1)))  # 0 where recall is not reached
        return float(
            np.mean(
                [best[np.searchsorted(recall, RECALL_LEVELS)] for best, recall in zip(best_from_here, right / people)]
            )
        )

    def bootstrap(self, resamples: int, seed: int | Sequence[int]) -> np.ndarray:
        """Compute AP over images drawn with replacement.

        Images of one file name are one photograph (at several simulated light levels, say)
        and are drawn together. Equal ``images`` and ``seed`` give equal draws.

        Returns:
            np.ndarray: (resamples,)
        """
        names, photograph = np.unique(self.images, return_inverse=True)
        draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        return np.array([self.average_precision(draw[photograph]) for draw in draws])


@dataclass
class Results:
    """The results of one test.

    Attributes:
        rows (dict[str, dict[str, float]]): Columns of each row, as shares of 1.
        boxes (str): Where the boxes came from that people were cropped by.
        means (Mapping[str, Sequence[str]]): Rows that are the mean of others.
        matches (dict[str, MatchedDetections]): Of each row that is no mean; may be empty.
        people (PersonResults, optional): The people of all rows, if they were tested on annotated boxes.
        measured (str): What the numbers are of: ``'joints'`` or, of a detector, ``'boxes'``.
    """

    rows: dict[str, dict[str, float]]
    boxes: str = 'not stated'
    means: Mapping[str, Sequence[str]] = field(default_factory=dict)
    matches: dict[str, MatchedDetections] = field(default_factory=dict)
    people: PersonResults | None = None
    measured: str = 'joints'

    def write(self, prefix: str) -> None:
        """Write ``<prefix>.json``, ``.md``, ``.npz`` and ``.people.npz``.

        Without people the last of an earlier test is removed.
        """
        os.makedirs(osp.dirname(osp.abspath(prefix)), exist_ok=True)
        with open(f'{prefix}.json', 'w', encoding='utf-8') as file:
            content = dict(boxes=self.boxes, measured=self.measured, means=self.means, rows=self.rows)
            json.dump(content, file, indent=2)
        with open(f'{prefix}.md', 'w', encoding='utf-8') as file:
            file.write(f'{self.caption}\n\n{markdown_table(self.cells())}\n')
        np.savez_compressed(
            f'{prefix}.npz',
            **{
                f'{row}/{attribute.name}': getattr(matches, attribute.name)
                for row, matches in self.matches.items()
                for attribute in fields(MatchedDetections)
            },
        )
        if self.people is not None:
            self.people.write(f'{prefix}.people.npz')
        elif osp.exists(f'{prefix}.people.npz'):
            os.remove(f'{prefix}.people.npz')

    @classmethod
    def read(cls, path: str, row: str = ALL_LOW_LIGHT) -> 'Results':
        """Read a table's JSON and the arrays beside it, or the numbers of plain MMPose.

        Args:
            path (str): Of a table's JSON; or of a JSON with keys like ``coco/AP`` as MMPose's
                test script writes (``--out``, and ``<timestamp>.json`` in the work dir).
            row (str): The row that ``coco`` means; any other prefix is itself a row.

        Raises:
            ResultsError: If the file is missing, unreadable, or has no such numbers.
        """
        content = _read_json(path)
        if 'rows' not in content:
            return cls(_rows_of_scalars(content, row, path))
        prefix = osp.splitext(path)[0]
        for name, values in content['rows'].items():
            for column, value in values.items():
                _number(value, f'{name}/{column}', path)
        return cls(
            content['rows'],
            content.get('boxes', cls.boxes),
            content.get('means', {}),
            _read_matches(f'{prefix}.npz'),
            _read_people(f'{prefix}.people.npz'),
            content.get('measured', cls.measured),
        )

    @property
    def caption(self) -> str:
        if self.measured == 'boxes':
            return 'AP and AR of boxes in percent'
        return f'AP, AR and OKS in percent; boxes: {self.boxes}'

    def cells(self) -> list[list[str]]:
        """Return the table in percent, a header first."""
        columns = list(dict.fromkeys(column for values in self.rows.values() for column in values))
        rows = [
            [row, *(f'{100 * values[column]:.1f}' if column in values else '-' for column in columns)]
            for row, values in self.rows.items()
        ]
        return [['split', *columns], *rows]


def _read_json(path: str) -> dict:
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except (OSError, ValueError) as error:
        raise ResultsError(f'cannot read {path}: {error}; {_HINT}') from error
    if not isinstance(content, dict):
        raise ResultsError(f'{path} holds a {type(content).__name__}, no test results; {_HINT}')
    return content


def _rows_of_scalars(content: dict, row: str, path: str) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    for key, value in content.items():
        prefix, _, column = key.rpartition('/')
        if prefix and column in _COLUMNS:
            rows.setdefault(row if prefix == 'coco' else prefix, {})[_COLUMNS[column]] = _number(value, key, path)
    if not rows:
        raise ResultsError(f'{path} has no key like "coco/AP", only {list(content)}; {_HINT}')
    return rows


def _number(value: Any, key: str, path: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ResultsError(f'{path}: {key} is {value!r}, no number; {_HINT}')
    return value


def _read_matches(path: str) -> dict[str, MatchedDetections]:
    if not osp.exists(path):
        return {}
    names = [attribute.name for attribute in fields(MatchedDetections)]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            rows = dict.fromkeys(key.rpartition('/')[0] for key in arrays)
            return {row: MatchedDetections(*(arrays[f'{row}/{name}'] for name in names)) for row in rows}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ResultsError(f'cannot read {path}: {error}; delete it to do without intervals, or test again') from error


def _read_people(path: str) -> PersonResults | None:
    try:
        return PersonResults.read(path) if osp.exists(path) else None
    except PeopleError as error:
        raise ResultsError(str(error)) from error


def text_table(cells: Sequence[Sequence[str]]) -> str:
    """Lay out a table for a log."""
    widths = [max(map(len, column)) for column in zip(*cells)]
    return '\n'.join('  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells)


def split_name(argument: str) -> tuple[str | None, str]:
    """``(NAME, PATH)`` of ``NAME=PATH``, or ``(None, PATH)`` of a path, which may have an equals sign in it."""
    name, equals, path = argument.partition('=')
    return (name, path) if equals and not osp.exists(argument) else (None, argument)
