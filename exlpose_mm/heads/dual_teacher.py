"""A head that supervises the low-light student by a well-lit teacher."""
from typing import Dict, List, Sequence

from mmpose.models.heads.base_head import BaseHead
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, OptConfigType, OptSampleList, Predictions, SampleList
from torch import Tensor, nn


@MODELS.register_module()
class WellLitTeacher(nn.Module):
    """The same network on the well-lit partner, as a teacher of features.

    Args:
        taps (Sequence[str]): Backbone layers whose outputs are compared, as in
            ``backbone.named_modules()``. The paper's are ``conv1`` (before its batch norm)
            and ``layer1`` to ``layer4`` of a ResNet.
        loss (dict): Config of a loss that takes two lists of features,
            e.g. :class:`~exlpose_mm.losses.GramLoss`.

    Raises:
        ValueError: If ``taps`` is empty.
    """

    def __init__(self, taps: Sequence[str], loss: ConfigType) -> None:
        super().__init__()
        if not taps:
            raise ValueError('the well-lit teacher needs at least one backbone layer in `taps`')
        self.taps = list(taps)
        self.loss_module = MODELS.build(loss)

    def loss(self, taps: Dict[str, Dict[str, Tensor]]) -> dict:
        """Compare what both lightings left in the taps.

        Args:
            taps (dict): Lighting to layer name to features (B, C, H, W).

        Returns:
            dict: ``loss_gram``, a list of one scalar per layer.
        """
        names = list(taps['low_light'])
        return dict(loss_gram=self.loss_module([taps['low_light'][n] for n in names],
                                               [taps['well_lit'][n] for n in names]))


@MODELS.register_module()
class DualTeacherHead(BaseHead):
    """Wraps any MMPose head and trains it on both lightings, with optional teachers.

    The wrapped head's own loss is taken for each lighting with equal weight (paper,
    section 4). With the well-lit teacher and :class:`~exlpose_mm.losses.GramLoss` this is
    ExLPose's training; without a teacher it is the same network trained on both lightings.
    Prediction is the wrapped head's.

    Args:
        head (dict): Config of the wrapped head.
        well_lit_teacher (dict, optional): Config of :class:`WellLitTeacher`.
        adversary (dict, optional): Config of a loss on the last features of both lightings,
            e.g. :class:`~exlpose_mm.adversarial.DomainAdversarialLoss`.

    Loss keys: ``<lighting>.<key of the wrapped head>``, the teachers' own and
    ``loss_adversary``.
    """

    def __init__(self, head: ConfigType, well_lit_teacher: OptConfigType = None,
                 adversary: OptConfigType = None) -> None:
        super().__init__()
        self.head = MODELS.build(head)
        self.well_lit_teacher = well_lit_teacher and WellLitTeacher(**well_lit_teacher)
        self.adversary = adversary and MODELS.build(adversary)

    @property
    def taps(self) -> List[str]:
        """Backbone layers that the teachers look at."""
        return self.well_lit_teacher.taps if self.well_lit_teacher else []

    @property
    def decoder(self):
        """The wrapped head's codec."""
        return self.head.decoder

    def forward(self, feats):
        """The wrapped head's output."""
        return self.head(feats)

    def predict(self, feats, batch_data_samples: OptSampleList,
                test_cfg: OptConfigType = {}) -> Predictions:
        """The wrapped head's predictions."""
        return self.head.predict(feats, batch_data_samples, test_cfg=test_cfg)

    def loss(self, feats: Dict[str, Sequence[Tensor]], batch_data_samples: SampleList,
             train_cfg: OptConfigType = {}, taps: Dict[str, Dict[str, Tensor]] = {}) -> dict:
        """Losses of a batch of B pairs.

        Args:
            feats (dict): Lighting to the features that the wrapped head takes.
            batch_data_samples (list[PoseDataSample]): B samples, one a pair.
            train_cfg (dict): Passed on.
            taps (dict): Lighting to layer name to features, for the teachers.
        """
        losses = {}
        for name, x in feats.items():
            own = self.head.loss(x, batch_data_samples, train_cfg=train_cfg)
            losses.update({f'{name}.{key}': value for key, value in own.items()})
        if self.well_lit_teacher:
            losses.update(self.well_lit_teacher.loss(taps))
        if self.adversary:
            losses['loss_adversary'] = self.adversary(feats['low_light'][-1], feats['well_lit'][-1])
        return losses
