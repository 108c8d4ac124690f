"""What is the detector's of all that is lost."""

import math

import pytest

from exlpose_mm.evaluation.detector_share import detectors_share, share_table
from exlpose_mm.evaluation.results import Results


@pytest.mark.parametrize(
    'annotated, detected, share', [(0.6, 0.5, 0.2), (0.6, 0.6, 0.0), (1.0, 0.25, 1.0), (0.5, 0.6, -0.25), (0.3, 0, 0.3)]
)
def test_the_share_is_of_what_is_missing_to_all(annotated, detected, share):
    assert detectors_share(annotated, detected) == pytest.approx(share)
    lost_by_poses, lost_by_boxes = 1 - annotated, annotated - detected
    assert detectors_share(annotated, detected) == pytest.approx(lost_by_boxes / (lost_by_poses + lost_by_boxes))


def test_where_nothing_is_lost_there_is_no_share():
    assert math.isnan(detectors_share(1.0, 1.0))


def test_the_table_has_the_rows_of_both_in_order():
    annotated = Results({'WL': dict(AP=0.9), 'LL-A': dict(AP=0.6), 'LL-N': dict(AP=0.7)})
    detected = Results({'LL-N': dict(AP=0.4), 'LL-A': dict(AP=0.5)})
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in share_table(annotated, detected).splitlines()]
    assert [line for line in lines if line and line[0].startswith('LL')] == [
        ['LL-N', '70.0', '40.0', '30.0', '30.0', '50.0'],
        ['LL-A', '60.0', '50.0', '40.0', '10.0', '20.0'],
    ]
