# The stock model that learned in the light, adapted by ExLPose's method.
_base_ = ['baseline-all-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py']

model = dict(
    **_base_.lighting_specific,
    head=dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head, well_lit_teacher=_base_.well_lit_teacher),
)

# For the configs with a second teacher: it has learned already.
momentum_teacher = dict(
    average=dict(type='MomentumAnnealingEMA', momentum=0.01, gamma=10),
    burn_in=0,
    loss=dict(loss_weight=1.0, min_confidence=(0.0, 0.3)),
)
