"""Packing one image, or a pair."""

from collections.abc import Sequence

from mmpose.datasets.transforms import PackPoseInputs
from mmpose.registry import TRANSFORMS

from exlpose_mm.datasets.collate import PinnableSample
from exlpose_mm.datasets.transforms.lighting import lighting_of
from exlpose_mm.lighting import LIGHTINGS, check_lighting
from exlpose_mm.views import MOMENTUM_VIEW


@TRANSFORMS.register_module()
class PackPairedInputs(PackPoseInputs):
    """Pack a pair as one sample with two inputs, or a single image as MMPose does.

    Returns, for a pair, ``inputs={'low_light': (C, H, W), 'well_lit': (C, H, W)}`` and one
    ``PoseDataSample`` that can be pinned. A third image is :data:`MOMENTUM_VIEW`. ``lighting``, ``labelled``,
    ``split``, ``well_lit_path``, ``bbox_file`` and ``simulated`` join the meta keys.

    Args:
        inputs (Sequence[str]): For training on single images together with pairs or with images
            of the other lighting: every sample gets a dict of these inputs, None where it has
            no such image, so that they can be in one batch. Defaults to (): as above.
        labelled (Sequence[str]): Lightings whose labels :class:`~exlpose_mm.DualTeacherHead`
            may use. Defaults to both; () is an unlabelled data set.
        meta_keys (Sequence[str]): Further meta keys.
        **kwargs: As for :class:`mmpose.datasets.transforms.PackPoseInputs`.

    Raises:
        ValueError: If ``inputs`` or ``labelled`` names an unknown one.
    """

    LIGHTING_KEYS = ('lighting', 'labelled', 'split', 'well_lit_path', 'bbox_file', 'simulated')

    def __init__(
        self, inputs: Sequence[str] = (), labelled: Sequence[str] = LIGHTINGS, meta_keys: Sequence[str] = (), **kwargs
    ) -> None:
        super().__init__(**kwargs)
        unknown = [name for name in inputs if name not in (*LIGHTINGS, MOMENTUM_VIEW)]
        if unknown:
            raise ValueError(f'unknown inputs {unknown}; choose from {(*LIGHTINGS, MOMENTUM_VIEW)}')
        self.inputs = tuple(inputs)
        self.labelled = tuple(check_lighting(name) for name in labelled)
        self.meta_keys = (*self.meta_keys, *self.LIGHTING_KEYS, *meta_keys)

    def transform(self, results: dict) -> dict:
        packed = super().transform({**results, 'labelled': self.labelled})
        sample = packed['data_samples']
        packed['data_samples'] = PinnableSample(metainfo=sample.metainfo, **dict(sample.items()))
        lighting = results.get('lighting')
        if isinstance(lighting, (tuple, list)):
            packed['inputs'] = dict(zip(_input_names(lighting), packed['inputs']))
        elif self.inputs:
            packed['inputs'] = {lighting_of(results): packed['inputs']}
        if self.inputs:
            packed['inputs'] = {name: packed['inputs'].get(name) for name in self.inputs}
        return packed


def _input_names(lighting: Sequence[str]) -> list[str]:
    """Of images of these lightings: the second low-light one is the momentum teacher's."""
    return [MOMENTUM_VIEW if name in lighting[:i] else name for i, name in enumerate(lighting)]
