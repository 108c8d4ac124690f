"""How much of what is lost from annotated boxes to perfect poses, and on to detected boxes, is the detector's."""

from exlpose_mm.evaluation.results import Results, ordered
from exlpose_mm.writing import markdown_table

HEADER = ['split', 'annotated boxes', 'detected boxes', 'lost by the poses', 'lost by the boxes', 'of all that is lost']


def detectors_share(annotated: float, detected: float) -> float:
    """The share of the detector in what is missing to an AP of 1.

    ``1 - detected`` is missing: ``1 - annotated``, which the poses lose in the annotated boxes already, and
    ``annotated - detected``, which is lost where boxes come from the detector. The latter may be negative, for a
    detector leaves out people whose poses would be wrong.

    Args:
        annotated (float): AP on annotated boxes, a share of 1.
        detected (float): AP on detected boxes.

    Returns:
        float: A share of 1; nan if nothing is lost.
    """
    return (annotated - detected) / (1 - detected) if detected < 1 else float('nan')


def share_table(annotated: Results, detected: Results) -> str:
    """Both tests in one table, a line for each row that both have, in percent."""
    rows = ordered(row for row in annotated.rows if row in detected.rows)
    aps = {row: (annotated.rows[row]['AP'], detected.rows[row]['AP']) for row in rows}
    cells = [
        [row, *(f'{100 * value:.1f}' for value in (a, d, 1 - a, a - d, detectors_share(a, d)))]
        for row, (a, d) in aps.items()
    ]
    return '\n'.join(
        ["AP in percent; what is lost is what is missing to 100, and in the last column the boxes' share of it.", '']
        + [markdown_table([HEADER, *cells])]
    )
