"""Data and head have the same joints."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from mmpose.registry import HOOKS
from torch.utils.data import Dataset


def inner_head(runner: Runner) -> torch.nn.Module | None:
    """The head that predicts, without its teachers; None if the model has no head."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    head = getattr(model, 'head', None)
    return getattr(head, 'head', head)


class JointsError(ValueError):
    """Data and head differ in the number of joints."""


@HOOKS.register_module()
class JointsHook(Hook):
    """Refuses data of people with other joints than the head predicts; pipelines and metrics that convert them may.

    Raises:
        JointsError: Before the first iteration, names both numbers.
    """

    def before_run(self, runner: Runner) -> None:
        head = inner_head(runner)
        predicted = next(
            (
                getattr(head, name)
                for name in ('num_keypoints', 'num_joints', 'out_channels')
                if isinstance(getattr(head, name, None), int)
            ),
            None,
        )
        for name, loop in (('train', runner._train_loop), ('val', runner._val_loop), ('test', runner._test_loop)):
            if predicted is None or not isinstance(loop, BaseLoop) or _converts(loop):
                continue
            found = getattr(loop.dataloader.dataset, 'metainfo', {}).get('num_keypoints', predicted)
            if found != predicted:
                raise JointsError(
                    f'the {type(head).__name__} predicts {predicted} joints, but the people of '
                    f'{name}_dataloader have {found}: change its out_channels, take another data set or '
                    'metainfo, or convert by KeypointConverter'
                )


def _converts(loop: BaseLoop) -> bool:
    """Whether a transform or a metric changes which joints there are."""
    metrics = getattr(getattr(loop, 'evaluator', None), 'metrics', ())
    return 'KeypointConverter' in repr(_pipelines(loop.dataloader.dataset)) or any(
        getattr(metric, name, None) for metric in metrics for name in ('pred_converter', 'gt_converter')
    )


def _pipelines(dataset: Dataset) -> list:
    parts = getattr(dataset, '_datasets', None) or getattr(dataset, 'datasets', [])
    return [getattr(dataset, 'pipeline', None), *map(_pipelines, parts)]
