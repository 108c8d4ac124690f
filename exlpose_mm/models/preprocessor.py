"""Normalising a batch, one lighting after the other."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, SampleList
from torch import Tensor, nn

from exlpose_mm.lighting import LIGHTINGS, check_lighting
from exlpose_mm.views import lighting_of_view, rows_by_lighting, some_images


@MODELS.register_module()
class LightingDataPreprocessor(BaseDataPreprocessor):
    """One MMPose preprocessor per lighting.

    Args:
        low_light (dict): Config of the preprocessor of low-light images, usually a
            ``PoseDataPreprocessor``.
        well_lit (dict): The same for well-lit images.
        merge (Sequence[str]): Lightings whose images are concatenated, in this order, to
            one ordinary batch, for networks that know nothing of lightings. This makes the
            paper's baselines out of any stock MMPose model: baseline-all merges both,
            baseline-low and baseline-well take one. Defaults to (): keep pairs as pairs.

    Input: ``inputs`` is a dict of lighting to B images (C, H, W) for pairs, and perhaps of
    :data:`~exlpose_mm.views.MOMENTUM_VIEW` to B low-light images. An image that a sample has
    not is None, and the batch of that lighting is smaller by it. A plain list
    is taken as images of the lighting that each sample's ``lighting`` names, and a list of such lists as
    the scales of a multi-scale test. Instead of lists it takes what
    the collate function ``stack_views`` makes of them, of which it moves one tensor for each view;
    nobody waits for that if they are in pinned memory.

    Raises:
        ValueError: If ``merge`` names an unknown lighting, if a preprocessor has ``batch_augments``, which would change
            a pair's labels once for each image, or if a batch has no image of those that ``merge`` names.
    """

    UNKNOWN: tuple[str, ...] = ('batch_augments',)

    def __init__(self, low_light: ConfigType, well_lit: ConfigType, merge: Sequence[str] = ()) -> None:
        super().__init__(non_blocking=True)
        cfgs = dict(zip(LIGHTINGS, (low_light, well_lit)))
        unknown = [name for name in self.UNKNOWN if low_light.get(name) or well_lit.get(name)]
        if unknown:
            raise ValueError(
                f'{", ".join(unknown)} would change the labels of a pair once for each of its images, or one image '
                f'alone: leave {unknown} out of the preprocessor, and put what moves pixels into the pipeline, '
                'of a detector inside of OnViews'
            )
        # The branches would reorder channels by a list, for which the host waits; of a batch it is a flip.
        self.swapped = {
            name for name, cfg in cfgs.items() if bool(cfg.get('bgr_to_rgb')) != bool(cfg.get('rgb_to_bgr'))
        }
        plain = dict(bgr_to_rgb=False, rgb_to_bgr=False)
        self.branches = nn.ModuleDict(
            {name: MODELS.build({**cfg, **(plain if name in self.swapped else {})}) for name, cfg in cfgs.items()}
        )
        self.merge = [check_lighting(name) for name in merge]

    def forward(self, data: dict, training: bool = False) -> dict:
        """Normalise a batch.

        Returns:
            dict: ``data_samples``, and ``inputs`` as dict of lighting to (B, C, H, W) for
            pairs, or as one (B, C, H, W) for single images and merged pairs.
        """
        inputs, samples = data['inputs'], data['data_samples']
        if not isinstance(inputs, dict):
            return self._forward_singles(inputs, samples, training)
        present = {name: some_images(inputs.get(name, ())) for name in self.merge or inputs}
        batches = {
            name: self._run(lighting_of_view(name), images, [samples[i] for i in rows], training)
            for name, (rows, images) in present.items()
            if rows
        }
        samples = self.cast_data(samples)
        if self.merge:
            return self._merge(batches, [samples[i] for rows, _ in present.values() for i in rows])
        return dict(inputs=batches, data_samples=samples)

    def _merge(self, batches: dict[str, Tensor], samples: SampleList) -> dict:
        if not batches:
            raise ValueError(f'no sample of the batch has an image of {" or ".join(self.merge)}, as `merge` asks for')
        return dict(inputs=torch.cat([*batches.values()]), data_samples=samples)

    def _forward_singles(self, inputs: Any, samples: SampleList, training: bool) -> dict:
        if isinstance(inputs, Sequence) and not isinstance(inputs[0], Tensor):  # of each scale of a multi-scale test
            scales = [self._forward_singles(images, samples, training) for images in inputs]
            return dict(scales[0], inputs=[scale['inputs'] for scale in scales])
        outputs: dict[int, Tensor] = {}
        for name, indices in rows_by_lighting(samples).items():
            batch = self._run(name, [inputs[i] for i in indices], [samples[i] for i in indices], training)
            outputs.update(zip(indices, batch))
        return dict(inputs=torch.stack([outputs[i] for i in range(len(samples))]), data_samples=self.cast_data(samples))

    def _run(self, name: str, images: Tensor | Sequence[Tensor], samples: SampleList, training: bool) -> Tensor:
        """One batch (B, C, H, W): one transfer, if the images have one size."""
        if not isinstance(images, Tensor) and len({image.shape for image in images}) == 1:
            images = torch.stack([*images])
        if isinstance(images, Tensor):
            images = self.cast_data(images)
        if name in self.swapped:
            images = images.flip(1) if isinstance(images, Tensor) else [image.flip(0) for image in images]
        # It would move all samples to the device to no avail: forward does that once.
        return self.branches[name](dict(inputs=images, data_samples=[]), training)['inputs']
