"""A log that does not grow without end."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS


@HOOKS.register_module()
class LogHistoryHook(Hook):
    """Keeps the last values of each logged number only.

    mmengine keeps a million of each, copies all of them in every iteration, and writes them into every
    checkpoint: 16 bytes for each number and iteration.

    Args:
        keep (int): How many; what the log averages over must be among them. Defaults to 10000.
    """

    def __init__(self, keep: int = 10000) -> None:
        self.keep = keep

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        for history in runner.message_hub.log_scalars.values():
            history.max_length = self.keep
