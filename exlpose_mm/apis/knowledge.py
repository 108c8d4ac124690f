"""Pseudo labels of dark images by two frozen teachers: DA-LLPose's knowledge acquisition (Ai et al., ECCV 2024).

The main teacher, DEKR, finds people by their centres; the complementary one, associative embedding, by their joints,
and so finds people whom the main one misses. What they find is written as an annotation file, which a data set reads as
any other. Legend: N: people of an image, K: joints.
"""

from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpose.evaluation.functional.nms import nearby_joints_nms
from mmpose.registry import MODELS

from exlpose_mm.engine.building import strip_init_cfg
from exlpose_mm.engine.fitting import load_fitting
from exlpose_mm.engine.variables import load_config


class KnowledgeError(ValueError):
    """The teachers know nothing that a student could learn from, or cannot be asked."""


class Poses(NamedTuple):
    """People of an image.

    Attributes:
        joints (np.ndarray): (N, K, 2), in pixels of the image.
        scores (np.ndarray): (N, K), of the joints, 0 to 1.
        people (np.ndarray): (N, ), of the people, 0 to 1.
    """

    joints: np.ndarray
    scores: np.ndarray
    people: np.ndarray

    def of(self, chosen: np.ndarray) -> 'Poses':
        """Some of them, by a mask or by indices."""
        return Poses(*(part[chosen] for part in self))


def sure_centres(decoder: dict, min_centre: float = 0.9, max_people: int = 15) -> dict:
    """The codec of a DEKR head, reading those people alone whose centre the map is sure of.

    Args:
        decoder (dict): Config of an ``SPR``.
        min_centre (float): What a centre has to exceed, as a share of a perfect map's. Defaults to 0.9, theirs.
        max_people (int): At most, those of the highest centres. Defaults to 15, theirs.

    Raises:
        KnowledgeError: If the codec has no centres.
    """
    if decoder.get('type') != 'SPR':
        raise KnowledgeError(
            f'the main teacher finds people by their centres, as DEKR with an SPR codec; got {decoder.get("type")!r}'
        )
    return dict(decoder, decode_thr=min_centre, decode_max_instances=max_people)


def trusted(poses: Poses) -> Poses:
    """The main teacher's people, every joint of whom has confidence 1."""
    return poses._replace(scores=np.ones_like(poses.scores), people=np.ones_like(poses.people))


def whole_people(poses: Poses, min_score: float = 0.5, min_joints: int = 10, min_joint: float = 0.1) -> Poses:
    """The complementary teacher's people of whom enough is seen; joints that are not have confidence 0.

    Args:
        poses (Poses): Of associative embedding.
        min_score (float): What a person's score has to exceed. Defaults to 0.5, theirs.
        min_joints (int): So many joints at least. Defaults to 10, theirs.
        min_joint (float): What a joint's score has to exceed to count. Defaults to 0.1, below which the codec takes a
            maximum for none.
    """
    seen = poses.scores > min_joint
    chosen = (poses.people > min_score) & (seen.sum(axis=1) >= min_joints)
    return poses._replace(scores=poses.scores * seen).of(chosen)


def unite(main: Poses, complementary: Poses, dist_thr: float = 0.05, joints_thr: int | None = None) -> Poses:
    """People of both teachers; of those whom both found, and who lie close together, the main one's stay.

    Args:
        main, complementary (Poses): Of one image.
        dist_thr (float): Two joints are close within this share of the diagonal of a pose.
        joints_thr (int, optional): Two people are close with more close joints than this. Defaults to half of them.
    """
    both = Poses(*(np.concatenate(parts) for parts in zip(main, complementary)))
    if not len(both.people):
        return both
    # The NMS keeps the higher score: those of the main teacher are over all of the other's.
    ranks = both.people + np.repeat([2.0, 0.0], [len(main.people), len(complementary.people)])
    people = [dict(keypoints=joints, score=rank) for joints, rank in zip(both.joints, ranks)]
    return both.of(np.array(sorted(nearby_joints_nms(people, dist_thr, joints_thr, max_dets=0)), int))


def as_annotations(content: dict, poses: Mapping[int, Poses]) -> dict:
    """An annotation file of the same images with these people.

    Joints without confidence, or outside of the frame, are not labelled; a person's box is that of the labelled ones.

    Args:
        content (dict): COCO's, of which the people are replaced.
        poses (dict): Image id to its people. Images that it lacks have none.

    Raises:
        KnowledgeError: If there is nobody in any image.
    """
    numbers, annotations = count(1), []
    for image in content['images']:
        if image['id'] not in poses:
            continue
        size = np.array([image['width'], image['height']])
        for joints, scores, person in zip(*poses[image['id']]):
            labelled = (scores > 0) & ((joints >= 0) & (joints < size)).all(axis=1)
            if labelled.any() and np.ptp(joints[labelled], axis=0).all():  # else there is no box
                annotations.append(
                    dict(id=next(numbers), image_id=image['id'], **_person(joints, labelled), score=float(person))
                )
    if not annotations:
        raise KnowledgeError(
            'neither teacher is sure of anybody in any image: train them for longer, or lower min_centre and min_score '
            'in the config'
        )
    return dict(content, annotations=annotations)


def _person(joints: np.ndarray, labelled: np.ndarray) -> dict:
    low, high = joints[labelled].min(axis=0), joints[labelled].max(axis=0)
    keypoints = np.column_stack([joints, np.full(len(joints), 2.0)]) * labelled[:, None]
    return dict(
        category_id=1,
        iscrowd=0,
        keypoints=keypoints.ravel().tolist(),
        num_keypoints=int(labelled.sum()),
        bbox=[*low.tolist(), *(high - low).tolist()],
    )


def acquire(knowledge: dict, device: str = 'cpu', progress: Callable[[], None] | None = None) -> dict[int, Poses]:
    """Ask both teachers about every image.

    Args:
        knowledge (dict): A student config's: ``dataset`` of the dark images, ``main`` and ``complementary`` with the
            ``config`` and the ``checkpoint`` of each and the thresholds of :func:`sure_centres` and
            :func:`whole_people`, and ``nms`` with those of :func:`unite`.
        device (str): Where they run.
        progress (callable, optional): Called without arguments after each image of each teacher.

    Returns:
        dict: Image id to its people.

    Raises:
        KnowledgeError: If the main teacher has no centres.
        CheckpointError: If weights cannot be read or are of another model.
    """
    rules = {name: dict(knowledge[name]) for name in ('main', 'complementary')}
    configs = {name: load_config(rule.pop('config')) for name, rule in rules.items()}
    checkpoints = {name: rule.pop('checkpoint') for name, rule in rules.items()}
    head = configs['main'].model.head
    head.decoder = sure_centres(head.decoder, **rules['main'])
    found = {
        name: find_people(configs[name], checkpoints[name], knowledge['dataset'], device, progress) for name in rules
    }
    return {
        image: unite(
            trusted(poses), whole_people(found['complementary'][image], **rules['complementary']), **knowledge['nms']
        )
        for image, poses in found['main'].items()
    }


@torch.no_grad()
def find_people(
    config: Config, checkpoint: str, dataset: dict, device: str = 'cpu', progress: Callable[[], None] | None = None
) -> dict[int, Poses]:
    """What a bottom-up model finds in each image of a data set, by its id.

    Args:
        config (Config): The model's. Its test pipeline is used.
        checkpoint (str): Its weights, a path or URL.
        dataset (dict): Config of the data set, without a pipeline.

    Raises:
        CheckpointError: If the weights cannot be read or are of another model.
    """
    strip_init_cfg(config.model)
    with DefaultScope.overwrite_default_scope('mmpose'):
        model = MODELS.build(config.model).to(device).eval()
        load_fitting(model, checkpoint)
        loader = dict(config.test_dataloader, dataset=dict(dataset, pipeline=config.test_pipeline), batch_size=1)
        found = {}
        for batch in Runner.build_dataloader(loader):
            for sample in model.test_step(batch):
                found[sample.img_id] = _poses(sample.pred_instances)
                if progress:
                    progress()
    return found


def _poses(people: Any) -> Poses:
    scores = np.asarray(people.keypoint_scores, np.float32)
    joints = np.asarray(people.keypoints, np.float32).reshape(*scores.shape, 2)
    return Poses(joints, scores, np.asarray(people.get('bbox_scores', scores.mean(axis=1)), np.float32))
