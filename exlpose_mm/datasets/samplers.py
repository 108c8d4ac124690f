"""Random numbers that belong to a sample and to an iteration, not to a process.

mmengine seeds each loader worker, so that a sample's augmentation depends on how many there are and on what
they loaded before. Here the global generators of Python, NumPy and torch are seeded anew for every sample and
for every training iteration, so that a run is the same with any number of workers, and goes on after a
resume as if it had never stopped. All transforms that draw from these generators follow, other packages' too.

What is promised: with the same seed, batch size, number of processes, threads and software, a CPU computes the same
bits, killed and resumed or not. A run by epochs goes on at an epoch's end. A run by iterations goes on at any
checkpoint, whose place in the data mmengine finds by loading again what was seen before. On a GPU
``randomness = dict(deterministic=True)`` is needed too, as far as its operators know it; :class:`ReseedHook` then sets
the environment variable that cuBLAS wants.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from mmpose.registry import DATA_SAMPLERS
from torch.utils.data import BatchSampler, Sampler


def seed_generators(*entropy: int) -> int:
    """Seed Python's, NumPy's and torch's CPU generator with a function of these numbers.

    Returns:
        int: 64 bits that are the same function's, for further generators.
    """
    digest = hashlib.blake2b(repr(tuple(map(int, entropy))).encode(), digest_size=20).digest()
    np.random.seed(int.from_bytes(digest[:4], 'big'))
    random.seed(digest[4:12])
    torch_seed = int.from_bytes(digest[12:], 'big')
    torch.default_generator.manual_seed(torch_seed)
    return torch_seed


class SeededBatch(list[int]):
    """Indices of a batch's samples. Iterating over them seeds the generators before each.

    So torch's loader, which does that and nothing else, loads every sample with the random numbers of its own,
    in whatever process. Afterwards the generators are what they were. Pickling and copying it leaves them alone.

    Args:
        indices (Sequence[int]): Of the samples.
        entropy (Sequence[int]): What tells this batch from all others.
    """

    def __init__(self, indices: Sequence[int], entropy: Sequence[int]) -> None:
        super().__init__(indices)
        self.entropy = tuple(entropy)

    def __iter__(self) -> Iterator[int]:
        kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
        try:
            for position, index in enumerate(super().__iter__()):
                seed_generators(*self.entropy, position, index)
                yield index
        finally:
            random.setstate(kept[0])
            np.random.set_state(kept[1])
            torch.set_rng_state(kept[2])

    def __reduce__(self) -> tuple[type['SeededBatch'], tuple[list[int], tuple[int, ...]]]:
        # A list's own way is to iterate. torch's loader pickles in a thread, beside the main one's random numbers.
        return type(self), (self[:], self.entropy)


@DATA_SAMPLERS.register_module()
class SeededBatchSampler(BatchSampler):
    """Batches whose samples are augmented by (seed, epoch, batch, place in it, index), for any data set.

    In a config: ``train_dataloader = dict(batch_sampler=dict(type='SeededBatchSampler', drop_last=True))``,
    with ``sampler`` and ``batch_size`` where they always are; torch wants ``drop_last`` here and nowhere else.

    No two visits of a sample share their random numbers: the epoch is part of them, and within one, in
    which samplers that mix sources repeat a sample, the place. Processes of distributed training draw
    different numbers because they see different samples. A sampler without an ``epoch`` counts as one that
    has had as many as it was iterated over, which starts at 0 again when a run is resumed.

    Args:
        sampler (Sampler): mmengine hands over that of the loader.
        batch_size (int): mmengine hands over that of the loader.
        drop_last (bool): Leave out a last batch that is not full. Defaults to False.
        seed (int, optional): Defaults to the sampler's, which mmengine sets to that of the run.

    Raises:
        ValueError: If there is no seed.
    """

    def __init__(self, sampler: Sampler, batch_size: int, drop_last: bool = False, seed: int | None = None) -> None:
        super().__init__(sampler, batch_size, drop_last)
        seed = getattr(sampler, 'seed', None) if seed is None else seed
        if seed is None:
            raise ValueError(
                f'SeededBatchSampler: {type(sampler).__name__} has no seed; say batch_sampler=dict(..., seed=0)'
            )
        self.seed, self._passes = seed, 0

    def __iter__(self) -> Iterator[SeededBatch]:
        epoch = getattr(self.sampler, 'epoch', self._passes)
        self._passes += 1
        for number, batch in enumerate(super().__iter__()):
            yield SeededBatch(batch, (self.seed, epoch, number))
