"""What the page says, and its HTML."""

from __future__ import annotations

import os
import os.path as osp
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exlpose_mm.compat.extras import Extra
from exlpose_mm.evaluation.comparison import Comparison, parse_source, read_results, signed
from exlpose_mm.evaluation.people import PersonResults
from exlpose_mm.evaluation.report import figures
from exlpose_mm.evaluation.report.brightness import Bins, Brightness, bins_of, correlations, measure
from exlpose_mm.evaluation.report.frames import PANEL, Frames, mean_in_box
from exlpose_mm.evaluation.report.training_log import Losses, read_losses
from exlpose_mm.evaluation.results import Results, ordered

jinja2 = Extra('jinja2', 'report')
Environment = Any  # jinja2's, which may not be installed


class ReportError(ValueError):
    """A report that cannot be made as it was asked for."""


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    Attributes:
        title (str): Of the page.
        baseline (str, optional): Name of the result that others are compared to.
        data_root (str, optional): Folder of the images, if it is not where the test found them.
        failures (int): People with pictures, for each result.
        frames (int): Dark frames to read at most for people's brightness.
        resamples, seed (int): As for :class:`~exlpose_mm.evaluation.comparison.Comparison`.
    """

    title: str = 'Poses in the dark'
    baseline: str | None = None
    data_root: str | None = None
    failures: int = 12
    frames: int = 400
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ('failures', 'frames'):
            if getattr(self, name) < 0:
                raise ReportError(f'{name} is {getattr(self, name)}; give 0 for none, or more')


def write_report(
    sources: Sequence[str], out: str, options: Options = Options(), progress: Callable | None = None
) -> None:
    """Write one HTML file that shows test results and loads nothing.

    Args:
        sources (Sequence[str]): As for :func:`~exlpose_mm.evaluation.comparison.read_results`.
        out (str): The file; its folder is made if missing.
        options (Options): What to show.
        progress (Callable, optional): A class like :class:`mmengine.utils.ProgressBar`, for the decoding.

    Raises:
        ResultsError: If there are no results at a path.
        ComparisonError: If the results cannot be compared.
        OSError: If the file cannot be written.
    """
    results = read_results(sources)
    comparison = Comparison(results, options.baseline, options.resamples, options.seed)
    paths: dict[str, list[str]] = {}
    for name, _, path in map(parse_source, sources):
        paths.setdefault(name, []).append(path)
    people = {name: result.people for name, result in results.items() if result.people is not None}
    frames = Frames(options.data_root)
    numbers = {name: number for number, name in enumerate(results)}
    page = (
        _environment()
        .get_template('page.html')
        .render(
            options=options,
            panel_size=PANEL,
            models=_models(results, paths),
            ap=_ap(comparison),
            losses=_losses(paths, numbers),
            joints=_joints(people),
            brightness=_brightness(people, numbers, measure(people, frames, options.frames, progress)),
            failures={name: _failures(own, frames, options.failures) for name, own in people.items()},
            without_people=[name for name in results if name not in people],
        )
    )
    os.makedirs(osp.dirname(osp.abspath(out)), exist_ok=True)
    with open(out, 'w', encoding='utf-8') as file:
        file.write(page)


def _environment() -> Environment:
    """Jinja2 that escapes all but :class:`markupsafe.Markup`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(osp.dirname(__file__)),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=_percent, signed=_signed, number=_number, spaced=lambda name: str(name).replace('_', ' ')
    )
    return environment


def _percent(share: float) -> str:
    return '–' if np.isnan(share) else f'{100 * share:.1f}'


def _signed(share: float) -> str:
    return '–' if np.isnan(share) else signed(share)


def _number(value: float) -> str:
    """Two significant digits below 10."""
    return '–' if np.isnan(value) else f'{value:.0f}' if abs(value) >= 10 else f'{value:.2g}'


def _models(results: dict[str, Results], paths: dict[str, list[str]]) -> list[dict]:
    return [
        dict(
            name=name,
            mark=figures.legend_mark(number),
            paths=paths[name],
            boxes=result.boxes,
            people=None if result.people is None else len(result.people),
            cells=result.cells(),
        )
        for number, (name, result) in enumerate(results.items())
    ]


def _ap(comparison: Comparison) -> dict:
    rows, others = comparison.rows, [name for name in comparison.results if name != comparison.baseline]
    cells = {
        name: [
            dict(
                ap=comparison.ap(name, row), interval=comparison.interval(name, row), best=comparison.is_best(name, row)
            )
            for row in rows
        ]
        for name in comparison.results
    }
    differences = (
        {}
        if comparison.baseline is None
        else {name: [comparison.difference(name, row) for row in rows] for name in others}
    )
    return dict(plot=figures.ap_plot(comparison), rows=rows, cells=cells, differences=differences)


def _losses(paths: dict[str, list[str]], numbers: dict[str, int]) -> dict:
    logs = {name: _joined(own) for name, own in paths.items()}
    keys = ordered((key for log in logs.values() for key in log.curves), ['loss'])
    plots = {
        key: figures.loss_plot(key, {numbers[name]: log.curves[key] for name, log in logs.items() if key in log.curves})
        for key in keys
    }
    last = {name: {key: points[-1] for key, points in log.curves.items()} for name, log in logs.items() if log.curves}
    return dict(
        plots=plots,
        last=last,
        terms=keys,
        missing=[name for name, log in logs.items() if not log.curves],
        damaged={name: log.damaged for name, log in logs.items() if log.damaged},
    )


def _joined(paths: Sequence[str]) -> Losses:
    """The log of the first path that has one: results of one name are tests of one training."""
    logs = [read_losses(path) for path in paths]
    return next((log for log in logs if log.curves), logs[0])


def _joints(people: dict[str, PersonResults]) -> dict:
    tables = {name: _joint_table(own) for name, own in people.items()}
    every = [
        value for table in tables.values() for row in table['rows'].values() for value in row if np.isfinite(value)
    ]
    return dict(tables=tables, largest=max(every, default=0.0) or 1.0)


def _joint_table(people: PersonResults) -> dict:
    """Median error of each joint, and of all, in each split."""
    splits = ordered(map(str, people.split))
    errors = [people.errors[people.split == split] for split in splits]
    rows = {str(name): [_median(own[:, joint]) for own in errors] for joint, name in enumerate(people.joints)}
    return dict(splits=splits, rows={**rows, 'all joints': [_median(own) for own in errors]})


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if known.size else float('nan')


def _brightness(people: dict[str, PersonResults], numbers: dict[str, int], measured: Brightness) -> dict:
    bins: dict[str, Bins] = {}
    ranks: dict[str, dict[str, float]] = {}
    for name, own in people.items():
        known = ~np.isnan(measured.values[name])
        found = bins_of(measured.values[name][known], own.oks[known])
        if found is not None:
            bins[name] = found
            ranks[name] = correlations(own.split[known], measured.values[name][known], own.oks[known])
    splits = ordered(split for own in ranks.values() for split in own)
    plot = figures.brightness_plot({numbers[name]: found for name, found in bins.items()}) if bins else None
    return dict(
        plot=plot,
        bins=bins,
        ranks=ranks,
        splits=['all', *(split for split in splits if split != 'all')],
        measured=measured,
    )


def _failures(people: PersonResults, frames: Frames, count: int) -> list[dict]:
    """The people of lowest OKS, the worst first; one that was tested in several darknesses once."""
    dark = np.flatnonzero(people.lighting == 'low_light')
    pool = dark if len(dark) else np.arange(len(people))
    chosen: dict[tuple, int] = {}
    for index in pool[np.argsort(np.nan_to_num(people.oks[pool], nan=-1), kind='stable')]:
        if len(chosen) == count:
            break
        chosen.setdefault((str(people.image[index]), int(people.annotation_id[index])), int(index))
    return [_failure(people, index, frames) for index in chosen.values()]


def _failure(people: PersonResults, index: int, frames: Frames) -> dict:
    errors = people.errors[index]
    worst = int(np.nanargmax(errors))
    entry = dict(
        split=str(people.split[index]),
        oks=float(people.oks[index]),
        image=str(people.image[index]),
        annotation_id=int(people.annotation_id[index]),
        score=float(people.scores[index].mean()),
        labelled=int((~np.isnan(errors)).sum()),
        joints=len(errors),
        worst=str(people.joints[worst]),
        error=float(errors[worst]),
        panels=[],
        brightness=float('nan'),
        problem='',
    )
    try:
        entry['panels'] = frames.panels(people, index)
        entry['brightness'] = mean_in_box(frames.read(people, index), people.box[index])
    except ValueError as error:
        entry['problem'] = ' '.join(str(error).split())
    return entry
