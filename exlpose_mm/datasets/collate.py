"""Collating in the loader's worker."""

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS
from mmengine.structures import BaseDataElement
from mmpose.structures import PoseDataSample
from torch import Tensor
from torch.utils.data import default_collate

from exlpose_mm.views import Images, SomeImages, some_images


class PinnableSample(PoseDataSample):
    """A sample whose targets a loader with ``pin_memory=True`` pins, as it does with the images."""

    def pin_memory(self) -> 'PinnableSample':
        """Pins all tensors in it, in place."""
        return _pin(self)


def _pin(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.pin_memory()
    if isinstance(value, (list, tuple)):
        return [_pin(part) for part in value]
    if isinstance(value, BaseDataElement):
        value.set_data({name: _pin(part) for name, part in value.items()})
    return value


@FUNCTIONS.register_module()
def stack_views(samples: Sequence[dict]) -> dict:
    """Collate as mmengine does by default, and stack the images of each view to one tensor.

    In a config: ``train_dataloader = dict(collate_fn=dict(type='stack_views'), pin_memory=True)``. So a loader's worker
    stacks, and the training process moves one tensor for each view. It is for training: MMPose's inferencers
    refuse the config of a test that names a ``collate_fn``.

    Args:
        samples (Sequence[dict]): B of them, as packed: ``inputs``, an image (C, H, W) or a dict of view to image or
            None, and ``data_samples``.

    Returns:
        dict: ``data_samples``, a list of B, and ``inputs``: of each view, or of the images if there are no views,
        (B, C, H, W); :class:`SomeImages` if some samples lack the view; a list if images differ in size or type.
    """
    batch = pseudo_collate(samples)
    inputs = batch['inputs']
    views = inputs if isinstance(inputs, dict) else dict(images=inputs)
    stacked = {name: _stacked(images) for name, images in views.items()}
    return dict(batch, inputs=stacked if isinstance(inputs, dict) else stacked['images'])


def _stacked(images: Sequence[Tensor | None]) -> Images:
    rows, there = some_images(images)
    kinds = {(image.shape, image.dtype) for image in there}
    # In a worker, into the memory that it shares with the training process.
    stacked = default_collate(list(there)) if len(kinds) == 1 else there
    return stacked if len(rows) == len(images) else SomeImages(rows, stacked)
