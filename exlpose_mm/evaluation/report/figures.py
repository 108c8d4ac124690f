"""Plots as inline SVG that take the page's ink and colours, so that they suit a light and a dark one."""

import re
from collections.abc import Callable, Sequence
from io import StringIO

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.rcsetup import cycler
from matplotlib.ticker import LogLocator, NullLocator

from exlpose_mm.evaluation.comparison import MARKERS, Comparison
from exlpose_mm.evaluation.report.brightness import DARKEST, Bins

INK = '#010203'
SERIES = tuple(f'#0{number}0f0e' for number in range(1, 9))
"""Stand-ins, which become CSS variables: matplotlib knows no such colour."""

STYLE = {
    'svg.fonttype': 'none',
    'text.parse_math': False,
    'font.size': 10,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'lines.linewidth': 1.6,
    'lines.markersize': 5,
    'axes.prop_cycle': cycler(color=SERIES),
    **dict.fromkeys(
        ('text.color', 'axes.edgecolor', 'axes.labelcolor', 'xtick.color', 'ytick.color', 'grid.color'), INK
    ),
}


def ap_plot(comparison: Comparison) -> Markup:
    """AP and its interval from well lit to extreme, as :meth:`Comparison.draw` does it."""
    return _figure('ap', comparison.draw, (5.0, 3.4))


def loss_plot(key: str, curves: dict[int, Sequence[tuple[int, float]]]) -> Markup:
    """One loss of several trainings: iteration and value, by the number of the result."""

    def draw(axes: Axes) -> None:
        for number, points in curves.items():
            steps, values = np.transpose(points)
            axes.plot(steps, values, color=color(number), marker='.' if len(steps) == 1 else None)
        axes.set_xlabel('iteration')
        axes.set_title(key, loc='left', fontsize='medium')
        axes.grid(axis='y', alpha=0.25)

    return _figure(f'loss {key}', draw, (4.2, 2.6))


def brightness_plot(bins: dict[int, Bins]) -> Markup:
    """Mean OKS against brightness in the box, by the number of the result."""

    def draw(axes: Axes) -> None:
        for number, found in bins.items():
            places = np.maximum(found.brightness, DARKEST)
            axes.plot(places, 100 * found.oks, color=color(number), marker=marker(number))
            axes.vlines(places, 100 * found.low, 100 * found.high, color=color(number))
        axes.set_xscale('log')
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axes.xaxis.set_major_formatter('{x:g}')
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel('mean of the dark frame in the box (DN of 255)')
        axes.set_ylabel('mean OKS (%)')
        axes.set_ylim(bottom=0)
        axes.grid(axis='y', alpha=0.25)

    return _figure('brightness', draw, (5.0, 3.4))


def color(number: int) -> str:
    """Stand-in of a result's colour."""
    return SERIES[number % len(SERIES)]


def marker(number: int) -> str:
    """Marker of a result, as in :meth:`Comparison.draw`."""
    return MARKERS[number % len(MARKERS)]


def legend_mark(number: int) -> Markup:
    """The line and marker of a result, for a legend in HTML."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1, 2], [0, 0, 0], color=color(number), marker=marker(number), markevery=[1])
        axes.set_axis_off()

    return _figure(f'mark {number}', draw, (0.36, 0.16))


def _figure(name: str, draw: Callable[[Axes], None], inches: tuple[float, float]) -> Markup:
    """Draw on axes of their own; the SVG without what only a file of its own needs."""
    with matplotlib.rc_context({**STYLE, 'svg.hashsalt': name}):
        figure = Figure(figsize=inches, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02))
        draw(figure.add_subplot())
        text = StringIO()
        figure.savefig(
            text, format='svg', transparent=True, metadata=dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
        )
    svg = text.getvalue()
    svg = svg[svg.index('<svg') :]
    svg = re.sub(
        r'<metadata>.*?</metadata>|<style type="text/css">.*?</style>| xmlns(:xlink)?="[^"]*"', '', svg, flags=re.S
    )
    svg = re.sub(r' id="[a-zA-Z0-9.]+_\d+"', '', svg).replace('xlink:href', 'href')
    svg = re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        rf'<svg \1 aria-hidden="true" style="width: {96 * inches[0]:.0f}px">',
        svg,
        count=1,
    )
    svg = svg.replace(INK, 'currentColor')
    for number, stand_in in enumerate(SERIES, 1):
        svg = svg.replace(stand_in, f'var(--series-{number})')
    return Markup(svg)
