"""Loss curves from mmengine's ``vis_data/scalars.json``."""

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Losses:
    """The losses that a training logged.

    Attributes:
        curves (dict[str, list[tuple[int, float]]]): Iteration and value of each key with ``loss`` in it, ``loss``
            (their sum) first.
        damaged (int): Lines that could not be read, as a run that was killed leaves them.
    """

    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    damaged: int = 0


def read_losses(path: str) -> Losses:
    """Read what the runs in a work dir logged; a run that resumes replaces what it repeats.

    Args:
        path (str): A work dir, the folder of one run in it, or a file in the latter.
    """
    folder = Path(path)
    folder = folder if folder.is_dir() else folder.parent
    losses = Losses()
    points: dict[int, dict] = {}
    for file in [*folder.glob('vis_data/scalars.json'), *sorted(folder.glob('*/vis_data/scalars.json'))]:
        run, damaged = _read_run(file)
        losses.damaged += damaged
        points = {**{step: point for step, point in points.items() if not run or step < min(run)}, **run}
    for step, point in sorted(points.items()):
        for key in sorted(point, key=lambda key: (key != 'loss', key)):
            losses.curves.setdefault(key, []).append((step, point[key]))
    return losses


def _read_run(file: Path) -> tuple[dict[int, dict], int]:
    """Losses by iteration, and the number of lines that are no JSON object."""
    points, damaged = {}, 0
    for line in file.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            content = json.loads(line)
            found = {key: float(value) for key, value in content.items() if 'loss' in key}
            if found:
                points[int(content.get('iter', content['step']))] = found
        except (ValueError, TypeError, KeyError, AttributeError):
            damaged += bool(line.strip())
    return points, damaged
