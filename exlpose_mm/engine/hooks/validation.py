"""Validation before training, to see what it added."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS


@HOOKS.register_module()
class InitialValHook(Hook):
    """Validate once before training too, and say at the end what training added.

    The last line group of the log compares every ``<row>/AP`` and ``<row>/OKS`` of the
    untrained with those of the trained model, in percent.
    """

    # After CheckpointHook, which prepares for its best checkpoint in before_train.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []

    def before_train(self, runner: Runner) -> None:
        runner.logger.info('Validation of the untrained model')
        runner.val_loop.run()
        runner.model.train()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.history.append(dict(metrics or {}))

    def after_train(self, runner: Runner) -> None:
        first, last = self.history[0], self.history[-1]
        lines = [
            f'{key:<10}{100 * first[key]:>10.1f}{100 * last[key]:>10.1f}'
            for key in first
            if key.endswith(('/AP', '/OKS'))
        ]
        header = f'{"percent":<10}{"untrained":>10}{"trained":>10}'
        runner.logger.info('\n'.join(['What training added', header, *lines]))
