"""Names of ExLPose's splits, which are the rows of a table of results, and of levels of darkness."""

BY_DARKNESS = ('LL-N', 'LL-H', 'LL-E')
"""The low-light test sets: normal, hard, extreme."""
ALL_LOW_LIGHT, WELL_LIT, LOW_LIGHT_TRAINING = 'LL-A', 'WL', 'LL'
OCN, OCN_CAMERAS = 'OCN', ('A7M3', 'RICOH3')

ROWS = (*BY_DARKNESS, ALL_LOW_LIGHT, WELL_LIT, *OCN_CAMERAS, OCN)
"""The rows that the paper reports, in its order."""
UNIONS = {ALL_LOW_LIGHT: BY_DARKNESS}
"""Row to those whose people it has together."""
MEANS = {OCN: OCN_CAMERAS}
"""Row to those whose numbers it is the mean of."""
LIGHT_TO_DARK = {WELL_LIT: 'well lit', 'LL-N': 'normal', 'LL-H': 'hard', 'LL-E': 'extreme'}
"""Rows of falling light, and what a plot calls them."""

LONG_NAMES = {ALL_LOW_LIGHT: 'LL-All', 'LL-N': 'LL-Normal', 'LL-H': 'LL-Hard', 'LL-E': 'LL-Extreme'}
"""Another spelling of splits in names of annotation files."""
SHORT_NAMES = {long: short for short, long in LONG_NAMES.items()}

ROW_OF_LEVEL = {
    'normal': 'LL-N',
    'hard': 'LL-H',
    'extreme': 'LL-E',
    'exlpose-normal': 'LL-N',
    'exlpose-hard': 'LL-H',
    'exlpose-extreme': 'LL-E',
    'a7m3': 'A7M3',
    'ricoh3': 'RICOH3',
}
"""Row for each level or preset of the low-light camera."""


def row_of_lighting(lighting: str) -> str:
    """The row of an image of which no more than its lighting is known."""
    return WELL_LIT if lighting == 'well_lit' else ALL_LOW_LIGHT


def lighting_of_row(row: str) -> str:
    """The lighting of the images of a row."""
    return 'well_lit' if row == WELL_LIT else 'low_light'
