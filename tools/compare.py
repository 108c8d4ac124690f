"""Compares test results: one table, differences with intervals, and a plot."""

import argparse
import os
import os.path as osp
import sys

from exlpose_mm.cli import add_result_arguments, printable_output
from exlpose_mm.evaluation.comparison import Comparison, ComparisonError, read_results
from exlpose_mm.evaluation.results import ResultsError


def parse_args() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add_result_arguments(parser)
    parser.add_argument('--out', metavar='PREFIX', default='comparison', help='writes PREFIX.md and PREFIX.png')
    return parser, parser.parse_args()


def main() -> None:
    parser, args = parse_args()
    try:
        comparison = Comparison(read_results(args.results), args.baseline, args.resamples, args.seed)
    except (ComparisonError, ResultsError) as error:
        parser.error(str(error))
    printable_output()
    print(comparison.markdown())
    try:
        os.makedirs(osp.dirname(osp.abspath(args.out)), exist_ok=True)
        with open(f'{args.out}.md', 'w', encoding='utf-8') as file:
            file.write(comparison.markdown())
        comparison.plot(f'{args.out}.png')
    except OSError as error:
        sys.exit(f'compare: {error}')


if __name__ == '__main__':
    main()
