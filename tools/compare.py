"""Compares test results: one table, differences with intervals, and a plot."""
import argparse
import os
import os.path as osp

from exlpose_mm.comparison import Comparison, ComparisonError, read_results
from exlpose_mm.results import ResultsError


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'results', nargs='+', metavar='RESULT',
        help='[NAME[:ROW]=]PATH: a work dir (its newest test), a table.json, or a JSON of plain '
        'MMPose, whose numbers belong to ROW (default LL-A); results of one NAME are joined')
    parser.add_argument('--baseline', metavar='NAME', help='result that others are compared to')
    parser.add_argument('--out', metavar='PREFIX', default='comparison',
                        help='writes PREFIX.md and PREFIX.png (default: %(default)s)')
    parser.add_argument('--resamples', type=int, default=1000,
                        help='resamples of the images for intervals (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the resamples')
    return parser, parser.parse_args()


def main():
    parser, args = parse_args()
    try:
        comparison = Comparison(
            read_results(args.results), args.baseline, args.resamples, args.seed)
    except (ComparisonError, ResultsError) as error:
        parser.error(str(error))
    os.makedirs(osp.dirname(osp.abspath(args.out)), exist_ok=True)
    with open(f'{args.out}.md', 'w', encoding='utf-8') as file:
        file.write(comparison.markdown())
    comparison.plot(f'{args.out}.png')
    print(comparison.markdown())


if __name__ == '__main__':
    main()
