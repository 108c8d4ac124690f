"""Whole images and the boxes of the people in them, for detectors."""

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import BaseDataset, Compose, ConcatDataset
from mmpose.registry import DATASETS

from exlpose_mm.datasets.exlpose import ExLPoseDataset
from exlpose_mm.joints import JOINTS

PEOPLE: dict[str, Any] = dict(classes=('person',), palette=[(220, 20, 60)])


@DATASETS.register_module()
class ExLPosePeopleDataset(ExLPoseDataset):
    """The boxes of ExLPose's annotations as MMDetection reads them: a sample is an image.

    It carries ``instances``, which ``LoadAnnotations`` takes, one for each person, with joints or without; crowds are
    there to be ignored. Files, pairs, ``lighting`` and ``split`` are those of :class:`ExLPoseDataset`. Images without
    people are left out in training.

    Args:
        lighting (str): ``'paired'``, ``'low_light'`` or ``'well_lit'``.
        **kwargs: As for :class:`ExLPoseDataset`.

    Raises:
        DatasetError: As :class:`ExLPoseDataset`, whoever has no joints too.
    """

    def __init__(self, lighting: str = 'paired', **kwargs: Any) -> None:
        super().__init__(lighting, data_mode='bottomup', unlabelled=True, **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo: dict | None = None) -> dict:
        return dict(PEOPLE, dataset_name='exlpose', num_keypoints=len(JOINTS))

    def load_data_list(self) -> list[dict]:
        """Load annotations, and find the image files of each.

        Returns:
            list[dict]: One dict per image.
        """
        images = super().load_data_list()
        del self._metainfo['CLASSES']  # COCO's entries, which would hide `classes` in a checkpoint
        return [_as_instances(image) for image in images]

    def _get_bottomup_data_infos(self, instance_list: list[dict], image_list: list[dict]) -> list[dict]:
        """Crowds too, which a detector is not to be blamed for; nothing is masked."""
        return super(ExLPoseDataset, self)._get_bottomup_data_infos(instance_list, image_list)

    def get_data_info(self, idx: int) -> dict:
        """An image's dict; MMPose would add what it knows of joints."""
        return BaseDataset.get_data_info(self, idx)


def _as_instances(image: dict) -> dict:
    people = zip(image.get('bbox', ()), image.get('iscrowd', ()))
    kept = {key: image[key] for key in ('img_id', 'img_path', 'well_lit_path', 'lighting', 'split') if key in image}
    instances = [dict(bbox=box.tolist(), bbox_label=0, ignore_flag=int(crowd)) for box, crowd in people]
    return dict(kept, instances=instances)


@DATASETS.register_module()
class RowsDataset(ConcatDataset):
    """Data sets of the rows of a table one after the other, as MMPose's ``CombinedDataset`` for its own.

    Args:
        datasets (Sequence[dict]): Each with the steps of its own, such as its darkness, in its ``pipeline``.
        pipeline (Sequence[dict]): Steps that follow for all of them, which a detector's user sees too.
        **kwargs: As for :class:`mmengine.dataset.ConcatDataset`.
    """

    def __init__(self, datasets: Sequence[dict], pipeline: Sequence[dict] = (), **kwargs: Any) -> None:
        self.pipeline = Compose(pipeline)
        super().__init__(datasets, **kwargs)

    def __getitem__(self, idx: int) -> Any:
        return self.pipeline(super().__getitem__(idx))
