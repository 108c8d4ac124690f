"""Writes one HTML page about test results: AP, losses, joints, brightness, failures with pictures."""

import argparse
import sys
from collections.abc import Sequence

from exlpose_mm.cli import Progress, add_result_arguments
from exlpose_mm.evaluation.comparison import ComparisonError
from exlpose_mm.evaluation.report.page import Options, ReportError, write_report
from exlpose_mm.evaluation.results import ResultsError


def parse_args(argv: Sequence[str] | None = None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_result_arguments(parser)
    parser.add_argument('--out', default='report.html', help='the page')
    parser.add_argument('--title', default=Options.title, help='of the page')
    parser.add_argument('--data-root', help='folder of the data set, if it is not where the test found it')
    parser.add_argument('--failures', type=int, default=Options.failures, help='people with pictures, each result')
    parser.add_argument('--frames', type=int, default=Options.frames, help="dark frames read for people's brightness")
    return parser, parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    parser, args = parse_args(argv)
    chosen = vars(args).copy()
    results, out = chosen.pop('results'), chosen.pop('out')
    try:
        write_report(results, out, Options(**chosen), Progress)
    except (ComparisonError, ReportError, ResultsError) as error:
        parser.error(str(error))
    except OSError as error:
        sys.exit(f'report: {error}')
    print(f'\n{out}')


if __name__ == '__main__':
    main()
