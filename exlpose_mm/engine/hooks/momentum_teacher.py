"""The momentum teacher follows the network."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import HOOKS

from exlpose_mm.engine.hooks.step_watch import StepWatch


@HOOKS.register_module()
class MomentumTeacherHook(Hook):
    """Moves the momentum teacher towards the network, once per step of the optimiser.

    Under gradient accumulation that is once per ``accumulative_counts`` iterations; a step that was
    left out, by :class:`FiniteLossHook` or by a loss scaler, is none. A teacher that was never updated
    becomes equal to the network when training starts, after checkpoints were loaded.

    Args:
        evaluate (bool): Validate and test the teacher's weights in place of the network's.
            Checkpoints hold both all the same. Defaults to False.

    Raises:
        ValueError: Before training, validation or testing, if the model has no momentum
            teacher, or one to be evaluated that was never trained.
        TypeError: Before training, if its optimiser is not one of torch's.
    """

    priority = 'NORMAL'

    def __init__(self, evaluate: bool = False) -> None:
        self.evaluate = evaluate

    def before_train(self, runner: Runner) -> None:
        model = self._model(runner)
        self._steps = StepWatch(runner.optim_wrapper)
        if model.momentum_teacher.updates == 0:
            model.momentum_teacher.update(model.network)

    def after_train(self, runner: Runner) -> None:
        self._steps.remove()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        if self._steps.happened():
            model = self._model(runner)
            model.momentum_teacher.update(model.network)

    def before_val_epoch(self, runner: Runner) -> None:
        self._swap(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._swap(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        self._swap(runner)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._swap(runner)

    def _swap(self, runner: Runner) -> None:
        if not self.evaluate:
            return
        model = self._model(runner)
        if model.momentum_teacher.updates == 0:
            raise ValueError(
                'MomentumTeacherHook(evaluate=True): this momentum teacher was never trained; use a '
                'checkpoint that has one, or evaluate=False'
            )
        average = model.momentum_teacher.network.state_dict()
        for name, tensor in model.network.state_dict().items():
            kept = tensor.clone()
            tensor.copy_(average[name])
            average[name].copy_(kept)

    @staticmethod
    def _model(runner: Runner) -> BasePoseEstimator:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if getattr(model, 'momentum_teacher', None) is None:
            raise ValueError(
                'MomentumTeacherHook found no momentum teacher: give the DualTeacherHead a '
                'momentum_teacher, or leave the hook out'
            )
        return model
