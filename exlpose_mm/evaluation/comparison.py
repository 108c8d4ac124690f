"""Results of several tests side by side: a table, differences to a baseline, a plot.

Intervals tell what other test images would change: AP is computed again over resamples of
the images, the same ones for each result. What another training run would change is not in
them; give several runs as ``NAME@1``, ``NAME@2`` ... for their mean and standard deviation.
"""

import os.path as osp
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from exlpose_mm.evaluation.people import PeopleError, PersonResults
from exlpose_mm.evaluation.results import Results, ResultsError, ordered, split_name
from exlpose_mm.splits import ALL_LOW_LIGHT, LIGHT_TO_DARK
from exlpose_mm.writing import markdown_table

MARKERS = 'osD^vPX*'
INTERVAL = (2.5, 97.5)


class ComparisonError(ValueError):
    """Results that cannot be compared: equal names, other images, or a bad option."""


def read_results(sources: Sequence[str]) -> dict[str, Results]:
    """Read results given as ``[NAME[:ROW]=]PATH``; those of one name are joined.

    Args:
        sources (Sequence[str]): PATH is a JSON file for :meth:`Results.read`, or a folder for
            :func:`find_results`. NAME defaults to that of the folder or file. ROW, LL-A by
            default, is what plain MMPose calls ``coco``.

    Raises:
        ResultsError: If there are no results at PATH.
        ComparisonError: If results of one name share a row, or have different joints.
    """
    named: dict[str, Results] = {}
    for source in sources:
        name, row, path = parse_source(source)
        results = Results.read(find_results(path), row)
        named[name] = _join(name, named[name], results) if name in named else results
    return named


def find_results(path: str) -> str:
    """Return the newest ``table.json`` in a work dir, or else plain MMPose's newest numbers.

    A path that is no folder is returned as it is. In training, the newest table is that of
    the last evaluated epoch.

    Raises:
        ResultsError: If the folder holds neither.
    """
    folder = Path(path)
    if not folder.is_dir():
        return path
    tables = [*folder.glob('table.json'), *sorted(folder.glob('*/table.json'))]
    scalars = [file for file in sorted(folder.glob('*/*.json')) if file.stem == file.parent.name]
    if not tables and not scalars:
        raise ResultsError(f'no table.json and no <timestamp>/<timestamp>.json in {path}; test a model first')
    return str((tables or scalars)[-1])


def parse_source(source: str) -> tuple[str, str, str]:
    """Name, row of plain MMPose's ``coco``, and path of ``[NAME[:ROW]=]PATH``."""
    label, path = split_name(source)
    if label is not None:
        name, _, row = label.partition(':')
        return name, row or ALL_LOW_LIGHT, path
    place = Path(osp.abspath(source))  # a link keeps its name
    own_name = place.name if place.is_dir() else place.stem
    return place.parent.name if place.name == 'table.json' else own_name, ALL_LOW_LIGHT, source


def _join(name: str, first: Results, second: Results) -> Results:
    twice = [row for row in first.rows if row in second.rows]
    if twice:
        raise ComparisonError(f'{name!r} has {", ".join(twice)} twice; tell the results apart: NAME=PATH')
    try:
        people = PersonResults.join([first.people, second.people])
    except PeopleError as error:
        raise ComparisonError(f'{name!r}: {error}') from error
    return Results(
        rows={**first.rows, **second.rows},
        boxes=', '.join(dict.fromkeys([first.boxes, second.boxes])),
        means={**first.means, **second.means},
        matches={**first.matches, **second.matches},
        people=people,
    )


class Comparison:
    """AP of several results, and how sure the differences are.

    Intervals (95 %, percentiles of a bootstrap over images) exist where a result has
    :class:`~exlpose_mm.evaluation.results.MatchedDetections`; plain MMPose's numbers have none.

    Args:
        results (dict[str, Results]): By name.
        baseline (str, optional): Name of the result that others are compared to.
        resamples (int): Number of resamples. Defaults to 1000.
        seed (int): Seed of the resamples.

    Raises:
        ComparisonError: If there is no result named ``baseline``, ``resamples`` is not
            positive, or two results have a row that was not tested on the same images and people.
    """

    def __init__(
        self, results: dict[str, Results], baseline: str | None = None, resamples: int = 1000, seed: int = 0
    ) -> None:
        if baseline is not None and baseline not in results:
            raise ComparisonError(f'no result is named {baseline!r}, only {tuple(results)}')
        if resamples < 1:
            raise ComparisonError(f'resamples is {resamples}; give at least 1, better 1000')
        self.results = results
        self.baseline = baseline
        self.resamples = resamples
        self.seed = seed
        self.rows = ordered(row for result in results.values() for row in result.rows)
        for row in self.rows:
            self._check_images(row)
        self.samples = {name: self._bootstrap(result) for name, result in results.items()}

    def _check_images(self, row: str) -> None:
        tested = {name: result.matches[row] for name, result in self.results.items() if row in result.matches}
        first = next(iter(tested), '')
        for name, matches in tested.items():
            if not (
                np.array_equal(matches.images, tested[first].images)
                and np.array_equal(matches.people, tested[first].people)
            ):
                raise ComparisonError(
                    f'{row} of {first!r} and of {name!r} are not of the same '
                    'images and people; test both on the same annotation file'
                )

    def _bootstrap(self, result: Results) -> dict[str, np.ndarray]:
        """AP of each row in each resample, (resamples,)."""
        samples = {
            row: result.matches[row].bootstrap(self.resamples, seed=(self.seed, number))
            for number, row in enumerate(self.rows)
            if row in result.matches
        }
        means = {
            row: np.mean([samples[part] for part in parts], axis=0)
            for row, parts in result.means.items()
            if all(part in samples for part in parts)
        }
        return {**samples, **means}

    def ap(self, name: str, row: str) -> float:
        """Return AP as a share of 1; nan if it was not tested."""
        return self.results[name].rows.get(row, {}).get('AP', float('nan'))

    def interval(self, name: str, row: str) -> np.ndarray:
        """Return the two ends of AP's interval; nan if unknown."""
        return _interval(self.samples[name].get(row))

    def difference(self, name: str, row: str) -> tuple[float, float, float]:
        """Return AP minus the baseline's and the two ends of its interval; nan if unknown.

        Raises:
            ComparisonError: If there is no baseline.
        """
        if self.baseline is None:
            raise ComparisonError('there is no baseline that a difference could be to')
        ours, theirs = (self.samples[key].get(row) for key in (name, self.baseline))
        low, high = _interval(None if ours is None or theirs is None else ours - theirs)
        return self.ap(name, row) - self.ap(self.baseline, row), low, high

    def is_best(self, name: str, row: str) -> bool:
        """Return whether no rival's AP is higher, in percent to one decimal; without a rival none is best."""
        percent = {other: round(100 * self.ap(other, row), 1) for other in self.results}
        rivals = [ap for ap in percent.values() if not np.isnan(ap)]
        return len(rivals) > 1 and percent[name] == max(rivals)

    @property
    def trainings(self) -> dict[str, list[str]]:
        """Names of the results that are trainings of one thing: those that agree up to the last ``@``."""
        groups: dict[str, list[str]] = {}
        for name in self.results:
            groups.setdefault(name.rpartition('@')[0] or name, []).append(name)
        return groups

    def markdown(self) -> str:
        """Return the table of AP, and those of repeated trainings and of differences to a baseline, if any."""
        blocks = ['AP in percent, the best in bold.', markdown_table(self._ap_cells())]
        if len(self.trainings) < len(self.results):
            blocks += [
                'AP over trainings: mean ± standard deviation of one training.',
                markdown_table(self._training_cells()),
            ]
        if self.baseline is not None:
            blocks += [
                f'AP minus that of {self.baseline}, and in brackets what 95 % of {self.resamples} '
                'resamples of the test images span. What another training run would change is not '
                'in it.',
                markdown_table(self._difference_cells()),
            ]
        return '\n\n'.join(blocks) + '\n'

    def _ap_cells(self) -> list[list[str]]:
        lines = [
            [name, result.boxes, *(_marked(self.ap(name, row), self.is_best(name, row)) for row in self.rows)]
            for name, result in self.results.items()
        ]
        return [['result', 'boxes', *self.rows], *lines]

    def _training_cells(self) -> list[list[str]]:
        lines = [
            [group, str(len(names)), *(_spread([self.ap(name, row) for name in names]) for row in self.rows)]
            for group, names in self.trainings.items()
        ]
        return [['result', 'trainings', *self.rows], *lines]

    def _difference_cells(self) -> list[list[str]]:
        lines = [
            [name, *(_signed(*self.difference(name, row)) for row in self.rows)]
            for name in self.results
            if name != self.baseline
        ]
        return [['result', *self.rows], *lines]

    def plot(self, path: str) -> None:
        """Draw AP from well lit to extreme, or over all rows if none of these was tested.

        Args:
            path (str): Image file to write; its suffix tells the format.
        """
        figure = Figure(figsize=(6.4, 4.8), layout='constrained')
        self.draw(figure.add_subplot())
        figure.legend(loc='outside lower center', title='bars: 95 % interval over the test images')
        figure.savefig(path, dpi=150)

    def draw(self, axes: Axes) -> None:
        """Draw as :meth:`plot` does, without a legend; results take the axes' colours in their order."""
        rows = [row for row in LIGHT_TO_DARK if row in self.rows] or self.rows
        for number, name in enumerate(self.results):
            places = np.arange(len(rows)) + 0.06 * (number - (len(self.results) - 1) / 2)
            (line,) = axes.plot(
                places, [100 * self.ap(name, row) for row in rows], label=name, marker=MARKERS[number % len(MARKERS)]
            )
            low, high = 100 * np.transpose([self.interval(name, row) for row in rows])
            axes.vlines(places, low, high, color=line.get_color())
        labels = [f'{LIGHT_TO_DARK[row]}\n{row}' if row in LIGHT_TO_DARK else row for row in rows]
        axes.set_xticks(range(len(rows)), labels)
        axes.set_ylabel('AP (%)')
        axes.set_ylim(bottom=0)
        axes.grid(axis='y', alpha=0.3)


def _interval(samples: np.ndarray | None) -> np.ndarray:
    if samples is None:
        return np.full(2, np.nan)
    return np.nanpercentile(samples, INTERVAL)


def _marked(ap: float, best: bool) -> str:
    if np.isnan(ap):
        return '-'
    return f'**{100 * ap:.1f}**' if best else f'{100 * ap:.1f}'


def _spread(aps: Sequence[float]) -> str:
    """Mean and sample standard deviation in percent; ``-`` if one is missing."""
    if np.isnan(aps).any():
        return '-'
    spread = f' ± {100 * np.std(aps, ddof=1):.1f}' if len(aps) > 1 else ''
    return f'{100 * np.mean(aps):.1f}{spread}'


def _signed(difference: float, low: float, high: float) -> str:
    if np.isnan(difference):
        return '-'
    brackets = '' if np.isnan(low) else f' [{signed(low)}, {signed(high)}]'
    return f'{signed(difference)}{brackets}'


def signed(share: float) -> str:
    """Percent with a sign and one decimal; ``+0.0``, never ``-0.0``."""
    return f'{round(100 * share, 1) + 0:+.1f}'
