"""Writes the pseudo labels from which a student config learns, see its ``knowledge``."""

import argparse
import os
import os.path as osp
import sys
from collections.abc import Sequence

import torch
from mmengine.fileio import dump
from mmpose.registry import DATASETS
from mmpose.utils import register_all_modules

import exlpose_mm  # noqa: F401, registers its modules
from exlpose_mm.apis.detection import images_of, sized
from exlpose_mm.apis.knowledge import KnowledgeError, acquire, as_annotations
from exlpose_mm.cli import device
from exlpose_mm.datasets.files import DatasetError, find_annotation
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.engine.checkpoints import CheckpointError
from exlpose_mm.engine.variables import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('config', help="the student's config")
    parser.add_argument(
        '--device', type=device, default='cuda:0' if torch.cuda.is_available() else 'cpu', help='where the teachers run'
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    register_all_modules()
    knowledge = load_config(args.config).get('knowledge')
    if knowledge is None:
        sys.exit(f'acquire_knowledge: {args.config} is of no student: it has no "knowledge"')
    try:
        ann_file = find_annotation(knowledge.dataset.data_root, knowledge.dataset.ann_file)
        content = read_annotations(ann_file)
        poses = acquire(knowledge, args.device)
        images = sized(content['images'], images_of(DATASETS.build(knowledge.dataset)))
        content = as_annotations(dict(content, images=images), poses)
    except (DatasetError, KnowledgeError, CheckpointError) as error:
        sys.exit(f'acquire_knowledge: {error}')
    os.makedirs(osp.dirname(osp.abspath(knowledge.out)), exist_ok=True)
    dump(content, knowledge.out, file_format='json')
    print(f'{knowledge.out}: {len(content["annotations"])} people in {len(poses)} images')


if __name__ == '__main__':
    main()
