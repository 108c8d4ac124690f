# ExLPose's method and a momentum teacher, which sees more light than the student.
_base_ = ['exlpose_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

model = dict(
    head=dict(
        momentum_teacher=dict(
            average=dict(type='MomentumAnnealingEMA', momentum=0.01, gamma=10),
            burn_in=90,
            # The well-lit teacher always speaks, the momentum teacher when it is sure.
            loss=dict(loss_weight=1.0, min_confidence=(0.0, 0.3)),
        )
    )
)
custom_hooks = [*_base_.custom_hooks, dict(type='MomentumTeacherHook')]

train_pipeline = [
    dict(type='LoadPairedImages'),
    dict(type='AddMomentumView'),
    dict(type='OnStudent', transforms=[dict(type='ThinPhotons', keep=(0.3, 1.0), prob=0.5)]),
    *_base_.after_loading,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
