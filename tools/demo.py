"""Finds poses in an image, a folder, a glob, a video or a webcam; writes pictures and a COCO-style JSON."""

import argparse
import itertools
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from mmpose.models.pose_estimators.base import BasePoseEstimator

from exlpose_mm.apis.detection import DetectionError, load_detector, people_in
from exlpose_mm.apis.frames import Source, SourceError, Writer
from exlpose_mm.apis.inference import (
    Boxes,
    Predictions,
    boxes_from_file,
    draw,
    find_poses,
    finds_people,
    load_model,
    whole_image,
)
from exlpose_mm.cli import Progress, count, device, exiting_on_sigterm, printable_output
from exlpose_mm.engine import zoo
from exlpose_mm.lighting import LIGHTINGS

SAVE_EVERY = 10
"""Seconds."""


def lighting(text: str) -> tuple[str, str]:
    """A name, empty for all images, and the lighting."""
    name, _, value = text.rpartition('=')
    if value not in LIGHTINGS:
        raise argparse.ArgumentTypeError(f'{value!r} is not one of {LIGHTINGS}')
    return name, value


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('input', help='image, folder, pattern, video, or the number of a webcam')
    parser.add_argument('config', nargs='?', help='of the model; without config and checkpoint the shipped one')
    parser.add_argument('checkpoint', nargs='?')
    parser.add_argument('--out', default='poses', help='folder of the results')
    people = parser.add_mutually_exclusive_group()
    people.add_argument('--boxes', metavar='JSON', help="people's boxes: a COCO-style file with these file names")
    people.add_argument(
        '--detector',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='an MMDetection model, e.g. mmdet::rtmdet/rtmdet_m_8xb32-300e_coco.py; dark frames are '
        'brightened for it, unless it is one of two lightings; by default the shipped one',
    )
    people.add_argument('--whole-image', action='store_true', help='look for nobody: one person fills each image')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help="lowest score of a detector's box, or of a person whom a model without boxes finds",
    )
    parser.add_argument(
        '--lighting',
        action='append',
        default=[],
        type=lighting,
        metavar='[NAME=]LIGHTING',
        help=f'{" or ".join(LIGHTINGS)}, of every image or, in addition, of the one of this name; read '
        'from the people of each by default',
    )
    parser.add_argument('--num', type=count, default=0, help='frames to stop after; a webcam runs till Ctrl-C')
    parser.add_argument('--device', type=device, default='cuda:0' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args(argv)


def boxes_of(args: argparse.Namespace, model: BasePoseEstimator) -> Boxes | None:
    """Where people's boxes come from; None if the model needs none."""
    if finds_people(model):
        if args.boxes or args.detector or args.whole_image:
            raise SourceError(f'{args.config} finds people by itself: leave --boxes, --detector and --whole-image out')
        return None
    if args.boxes:
        return boxes_from_file(args.boxes)
    if args.whole_image:
        return whole_image
    config, checkpoint = args.detector or (zoo.DETECTOR_CONFIG, zoo.DETECTOR_WEIGHTS)
    detector = load_detector(config, checkpoint, args.device)
    said = dict(args.lighting)
    return lambda image, name: people_in(detector, image, args.score_thr, said.get(name, said.get('')))


def summary(predictions: Predictions) -> str:
    """How many people there were, and in which light."""
    people, frames = (predictions.content[key] for key in ('annotations', 'images'))
    found = Counter(person['lighting'] for person in people if 'lighting' in person)
    lights = ''.join(f', {found[name]} taken to be {name}' for name in LIGHTINGS if found)
    return f'{len(people)} people in {len(frames)} frames{lights}'


def run(args: argparse.Namespace, source: Source, model: BasePoseEstimator, boxes: Boxes | None) -> list[str]:
    """Go through the frames; returns what was wrong with those that were left out."""
    predictions, writer, problems = Predictions(model.dataset_meta), Writer(args.out, source), [*source.left_out]
    path, written, lightings = Path(args.out) / 'predictions.json', time.monotonic(), dict(args.lighting)
    bar = Progress(min(len(source), args.num or len(source)))
    try:
        for frame in itertools.islice(source, args.num or None):
            try:
                image = frame.pixels()
                at = boxes and boxes(image, frame.name)
                poses = find_poses(model, image, at, lightings.get(frame.name), args.score_thr)
            except SourceError as error:
                problems.append(f'{frame.name}: {error}')
            else:
                predictions.add(frame.name, image, poses)
                writer.write(frame.name, draw(image, poses, model.dataset_meta))
            if time.monotonic() - written > SAVE_EVERY:  # a crash or SIGKILL loses no more than that
                predictions.write(path)
                written = time.monotonic()
            bar.update()
    except KeyboardInterrupt:
        print('\nstopped')
    finally:
        writer.close()
        predictions.write(path)
    print(f'\n{args.out}: {summary(predictions)}')
    if predictions.content['images'] and not (predictions.content['annotations'] or args.boxes or args.whole_image):
        print('nobody was found; lower --score-thr, or say --whole-image if one person fills the picture')
    frames = predictions.content['images']
    unknown = {name for name in lightings if name} - {frame['file_name'] for frame in frames}
    problems += [f'--lighting {name}=...: no such image was read' for name in sorted(unknown)]
    return problems


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    printable_output()
    try:
        source = Source(args.input)
        model = load_model(args.config, args.checkpoint, args.device, dict(args.lighting).get(''))
        boxes = boxes_of(args, model)
        with exiting_on_sigterm():
            problems = run(args, source, model, boxes)
    except (SourceError, DetectionError, ValueError, OSError) as error:
        sys.exit(f'demo: {error}')
    if problems:
        sys.exit('\n'.join([f'{len(problems)} images were left out:', *problems]))


if __name__ == '__main__':
    main()
