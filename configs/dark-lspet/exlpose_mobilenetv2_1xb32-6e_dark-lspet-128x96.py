# ExLPose's method: LSBN and the well-lit teacher (LUPI); calibrated camera.
_base_ = ['baseline-all_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

model = dict(
    **_base_.lighting_specific,
    head=dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head, well_lit_teacher=_base_.well_lit_teacher),
)

# For the configs with a second teacher.
momentum_teacher = dict(
    average=dict(type='MomentumAnnealingEMA', momentum=0.01, gamma=10),
    burn_in=90,
    # The well-lit teacher always speaks, the momentum teacher when it is sure.
    loss=dict(loss_weight=1.0, min_confidence=(0.0, 0.3)),
)
