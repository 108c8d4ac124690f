"""A trained model as an ONNX file, checked against torch."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.cnn.utils import fuse_conv_bn
from mmengine.config import Config
from mmpose.models.heads import RTMCCHead, SimCCHead
from mmpose.models.pose_estimators.base import BasePoseEstimator
from torch import Tensor, nn
from torch.utils.benchmark import Timer

from exlpose_mm.apis.deployment import plain_config, plain_state_dict
from exlpose_mm.compat.extras import Extra
from exlpose_mm.engine.building import build_model
from exlpose_mm.engine.checkpoints import CheckpointError, load_weights, replacing
from exlpose_mm.lighting import check_lighting
from exlpose_mm.models.heads.cpn import CPNHead

onnxruntime = Extra('onnxruntime', 'onnx')
OPSET = 13


class ExportError(ValueError):
    """The network cannot be exported, or the ONNX file does not compute what it computes."""


class CropToOutput(nn.Module):
    """What a crop becomes: normalisation, backbone, neck and head, without decoding.

    Args:
        model (BasePoseEstimator): A plain top-down model in evaluation mode.
    """

    def __init__(self, model: BasePoseEstimator) -> None:
        super().__init__()
        self.model = model

    @property
    def names(self) -> list[str]:
        """Of the outputs."""
        by_class = isinstance(self.model.head, (RTMCCHead, SimCCHead))
        return ['simcc_x', 'simcc_y'] if by_class else ['heatmaps']

    def forward(self, crops: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(B, 3, h, w) as the test pipeline leaves it, to maps (B, K, h', w') or two of classes."""
        normalise = self.model.data_preprocessor
        if normalise._channel_conversion:
            crops = crops[:, [2, 1, 0]]
        output = self.model((crops - normalise.mean) / normalise.std, None, mode='tensor')
        return output[-1] if isinstance(self.model.head, CPNHead) else output


def load_plain(config: Config, checkpoint: str | Path, name: str = 'low_light') -> BasePoseEstimator:
    """One lighting's network with its weights, as stock MMPose's model in evaluation mode.

    Args:
        config (Config): Of a :class:`~exlpose_mm.LightingPoseEstimator`, or of a plain model, which may
            be one of this package's baselines.
        checkpoint (str | Path): Of that config.
        name (str): The lighting.

    Raises:
        CheckpointError: If the checkpoint cannot be read or is of another model.
    """
    weights = load_weights(checkpoint)
    if config.model.type == 'LightingPoseEstimator':
        config, weights = plain_config(config, name), plain_state_dict(weights, name)
    cfg = dict(config.model)
    if cfg['data_preprocessor']['type'] == 'LightingDataPreprocessor':
        cfg['data_preprocessor'] = cfg['data_preprocessor'][check_lighting(name)]
    model = build_model(cfg)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f'{checkpoint} does not fit the model of this config: {error}') from error
    return model.eval()


def export(
    model: BasePoseEstimator, path: str | Path, size: tuple[int, int], tolerance: float = 1e-3, repeats: int = 5
) -> dict[str, float]:
    """Write an ONNX file with batch norms folded into convolutions and a dynamic batch.

    Its input ``crops`` is what the config's test pipeline makes of an image, scaled to the common
    mean and cropped, BGR and not normalised: (B, 3, h, w) float32.

    Args:
        model (BasePoseEstimator): See :func:`load_plain`.
        path (str | Path): The file.
        size (tuple[int]): (w, h) of the crops.
        tolerance (float): Largest difference to torch that is accepted, as a share of the
            outputs' largest value.
        repeats (int): Of the timings.

    Returns:
        dict: Seconds that one crop takes: in torch, in torch with folded batch norms, and in onnxruntime.

    Raises:
        ExportError: If torch cannot export the network, or an output differs by more, in a batch of
            1 or of 3. There is no file then.
    """
    plain = CropToOutput(model).eval()
    batches = [255 * torch.rand(count, 3, *size[::-1]) for count in (1, 3)]
    with torch.no_grad():
        wanted = [_tuple(plain(crops)) for crops in batches]
        folded = CropToOutput(fuse_conv_bn(copy.deepcopy(model))).eval()
        with replacing(Path(path)) as temporary:
            _write(folded, temporary, batches[1])
            run = session(temporary)
            for crops, outputs in zip(batches, wanted):
                _check(path, run(crops), outputs, tolerance)
        crops = batches[0]
        tasks: dict[str, Callable[[Tensor], object]] = {'torch': plain, 'torch, folded': folded, 'onnxruntime': run}
        return {name: _seconds(partial(task, crops), repeats) for name, task in tasks.items()}


def _seconds(task: Callable[[], object], repeats: int) -> float:
    return Timer('task()', globals=dict(task=task), num_threads=torch.get_num_threads()).timeit(repeats).mean


def _write(model: CropToOutput, path: Path, crops: Tensor) -> None:
    # By tracing, which all versions of torch have; since 2.9 another way is the default, which asks for onnxscript.
    by_tracing: dict[str, Any] = {'dynamo': False} if 'dynamo' in signature(torch.onnx.export).parameters else {}
    try:
        torch.onnx.export(
            model,
            (crops,),
            str(path),
            opset_version=OPSET,
            input_names=['crops'],
            output_names=model.names,
            dynamic_axes={name: {0: 'batch'} for name in ('crops', *model.names)},
            **by_tracing,
        )
    except RuntimeError as error:
        raise ExportError(f'torch cannot export this network: {error}') from error


def session(path: str | Path) -> Callable[[Tensor], list[np.ndarray]]:
    """An ONNX file on the CPU, with as many threads as torch: crops to its outputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    loaded = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    return lambda crops: loaded.run(None, dict(crops=crops.numpy()))


def _check(path: str | Path, found: Sequence[np.ndarray], wanted: Sequence[Tensor], tolerance: float) -> None:
    for ours, theirs in zip(wanted, found):
        error = np.abs(ours.numpy() - theirs).max() / max(1e-6, ours.abs().max().item())
        if not error <= tolerance:
            raise ExportError(
                f'{path} differs from torch by {error:.2g} of the largest value, accepted is {tolerance:g}'
            )


def _tuple(output: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return (output,) if isinstance(output, Tensor) else output
