"""Packing one image, or a pair."""

from collections.abc import Sequence
from typing import Any

from mmpose.datasets.transforms import PackPoseInputs
from mmpose.datasets.transforms.formatting import image_to_tensor
from mmpose.registry import TRANSFORMS

from exlpose_mm.datasets.collate import PinnableSample
from exlpose_mm.lighting import LIGHTINGS, check_lighting
from exlpose_mm.views import VIEWS, views_of


@TRANSFORMS.register_module()
class PackPairedInputs(PackPoseInputs):
    """Pack a pair as one sample with two inputs, or a single image as MMPose does.

    Returns, for a pair, ``inputs={'low_light': (C, H, W), 'well_lit': (C, H, W)}`` and one
    ``PoseDataSample`` that can be pinned; more views by their names. ``lighting``, ``views``, ``labelled``,
    ``split``, ``well_lit_path``, ``bbox_file``, ``simulated`` and ``aug_scales`` join the meta keys. With
    ``aug_scales`` the images are the scales of one image, and ``inputs`` a list of them, (C, H, W) each. A
    ``heatmap_mask`` is packed whatever the codec.

    Args:
        inputs (Sequence[str]): For training on single images together with pairs or with images
            of the other lighting: every sample gets a dict of these inputs, None where it has
            no such image, so that they can be in one batch. Defaults to (): as above.
        labelled (Sequence[str]): Lightings whose labels :class:`~exlpose_mm.DualTeacherHead`
            may use. Defaults to both; () is an unlabelled data set.
        meta_keys (Sequence[str]): Further meta keys.
        **kwargs: As for :class:`mmpose.datasets.transforms.PackPoseInputs`.

    Raises:
        ValueError: If ``inputs`` or ``labelled`` names an unknown one; of a sample, if it was not yet scaled by the
            crop that :class:`~exlpose_mm.ScaleToMean` was told of.
    """

    LIGHTING_KEYS = ('lighting', 'views', 'labelled', 'split', 'well_lit_path', 'bbox_file', 'simulated', 'aug_scales')
    meta_keys: tuple[str, ...]

    def __init__(
        self,
        inputs: Sequence[str] = (),
        labelled: Sequence[str] = LIGHTINGS,
        meta_keys: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        unknown = [name for name in inputs if name not in VIEWS]
        if unknown:
            raise ValueError(f'unknown inputs {unknown}; choose from {VIEWS}')
        self.inputs = tuple(inputs)
        self.labelled = tuple(check_lighting(name) for name in labelled)
        self.meta_keys = (*self.meta_keys, *self.LIGHTING_KEYS, *meta_keys)

    def transform(self, results: dict) -> dict:
        if results.get('gains'):
            raise ValueError(
                f'ScaleToMean left the scaling of {results.get("img_path")} to a CPNCrop, which did not come: give it '
                'the crop that follows, or none'
            )
        scales = results['img'] if results.get('aug_scales') else []
        image = scales[0] if scales else results['img']
        packed = super().transform({**results, 'img': image, 'labelled': self.labelled, **_with_mask(results)})
        sample = packed['data_samples']
        packed['data_samples'] = PinnableSample(metainfo=sample.metainfo, **dict(sample.items()))
        several = isinstance(image, list)
        if scales:
            packed['inputs'] = [image_to_tensor(scale) for scale in scales]
        elif several or self.inputs:
            inputs = dict(zip(views_of(results), packed['inputs'] if several else [packed['inputs']]))
            packed['inputs'] = {name: inputs.get(name) for name in self.inputs} if self.inputs else inputs
        return packed


def _with_mask(results: dict) -> dict:
    """The fields to pack, and the mask of MaskInvalidPeople, of which MMPose's DEKR codec does not know."""
    fields = results.get('field_mapping_table')
    if not fields or 'heatmap_mask' not in results:
        return {}
    return dict(field_mapping_table=dict(fields, heatmap_mask='heatmap_mask'))
