"""How a person's brightness relates to the error."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from exlpose_mm.evaluation.people import PersonResults
from exlpose_mm.evaluation.report.frames import Frames, mean_in_box

DARKEST = 0.01
"""Brightness in DN that a black box is drawn at, on a logarithmic axis."""
PEOPLE_A_BIN = 20


@dataclass(frozen=True)
class Bins:
    """People sorted by brightness into bins of equally many.

    Attributes:
        brightness (np.ndarray): (B,) median in DN.
        oks, low, high (np.ndarray): (B,) mean OKS, and its 95 % interval over people (1.96 standard errors).
        count (np.ndarray): (B,) people.
    """

    brightness: np.ndarray
    oks: np.ndarray
    low: np.ndarray
    high: np.ndarray
    count: np.ndarray


def bins_of(brightness: np.ndarray, oks: np.ndarray, bins: int = 8) -> Bins | None:
    """Bin people (P,) by brightness; fewer bins where they would hold under 20, None where that leaves none."""
    bins = min(bins, len(oks) // PEOPLE_A_BIN)
    if not bins:
        return None
    parts = np.array_split(np.argsort(brightness, kind='stable'), bins)
    means = np.array([oks[part].mean() for part in parts])
    reach = np.array([1.96 * oks[part].std(ddof=1) / np.sqrt(len(part)) for part in parts])
    return Bins(
        np.array([np.median(brightness[part]) for part in parts]),
        means,
        np.maximum(means - reach, 0),
        np.minimum(means + reach, 1),
        np.array([len(part) for part in parts]),
    )


def rank_correlation(brightness: np.ndarray, oks: np.ndarray) -> float:
    """Spearman's rank correlation, in [-1, 1]; nan of fewer than 20 people or where one of the two is constant."""
    if len(oks) < PEOPLE_A_BIN or not np.ptp(brightness) or not np.ptp(oks):
        return float('nan')
    return float(np.corrcoef(rankdata(brightness), rankdata(oks))[0, 1])


def correlations(split: np.ndarray, brightness: np.ndarray, oks: np.ndarray) -> dict[str, float]:
    """Rank correlation of all people, under the key ``'all'``, and of each split's."""
    parts = {'all': np.full(len(oks), True), **{str(name): split == name for name in np.unique(split)}}
    return {name: rank_correlation(brightness[own], oks[own]) for name, own in parts.items()}


@dataclass(frozen=True)
class Brightness:
    """Brightness of people under low light, where their frame was read.

    Attributes:
        values (dict[str, np.ndarray]): By the result's name, (P,) in DN; nan where it was not read.
        read (int): Frames.
        frames (int): Frames with people under low light.
        problems (list[str]): Why a frame could not be read.
    """

    values: dict[str, np.ndarray]
    read: int
    frames: int
    problems: list[str]


def measure(
    people: dict[str, PersonResults], frames: Frames, limit: int, progress: Callable | None = None
) -> Brightness:
    """Measure people's brightness: the mean of the dark frame in the annotated box.

    Args:
        people (dict[str, PersonResults]): By the result's name; a frame that several have is read once.
        frames (Frames): Where they are.
        limit (int): Frames to read at most, spread evenly over them all.
        progress (Callable, optional): A class like :class:`mmengine.utils.ProgressBar`.
    """
    owners: dict[tuple, list[tuple[str, int]]] = {}
    for name, own in people.items():
        for index in np.flatnonzero(own.lighting == 'low_light').tolist():
            owners.setdefault((str(own.split[index]), *frames.key(own, index)), []).append((name, index))
    keys = sorted(owners)
    chosen = [keys[i] for i in np.unique(np.linspace(0, len(keys) - 1, min(limit, len(keys))).astype(int))]
    values = {name: np.full(len(own), np.nan) for name, own in people.items()}
    bar, problems = progress(len(chosen)) if progress and chosen else None, []
    for key in chosen:
        try:
            name, index = owners[key][0]
            frame = frames.read(people[name], index)
            for name, index in owners[key]:
                values[name][index] = mean_in_box(frame, people[name].box[index])
        except ValueError as error:
            problems.append(' '.join(str(error).split()))
        if bar:
            bar.update()
    return Brightness(values, len(chosen) - len(problems), len(keys), problems)
