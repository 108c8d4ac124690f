"""Training hooks."""
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpose.registry import HOOKS


@HOOKS.register_module()
class InitialValHook(Hook):
    """Validate once before training, so that the log shows what training added."""

    # After CheckpointHook, which prepares for its best checkpoint in before_train.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
        runner.logger.info('Validation of the untrained model')
        runner.val_loop.run()
        runner.model.train()
