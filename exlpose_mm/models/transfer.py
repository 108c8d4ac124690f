"""From the host to the device without waiting for what the device is doing."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def to_device(values: np.ndarray | Sequence, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers of the host as a tensor beside another.

    A GPU copies them from pinned memory when it gets there; any other copy would wait until it has.
    """
    tensor = torch.as_tensor(values, dtype=dtype)
    return tensor.pin_memory().to(like.device, non_blocking=True) if like.is_cuda else tensor.to(like.device)


def select(batch: Tensor, indices: list[int]) -> Tensor:
    """Rows of a batch, in ascending order; without a copy if they are all of them."""
    if len(indices) == len(batch):
        return batch
    return batch.index_select(0, to_device(indices, batch, torch.long))
