# The small DEKR on pairs of drawings: LSBN, the style loss and a momentum teacher, which sees more light.
_base_ = ['baseline-well_dekr_r18_1xb8-12e_demo-96x96.py']

model = dict(
    **_base_.lighting_specific,
    head=dict(
        _delete_=True,
        type='DualTeacherHead',
        head=_base_.model.head,
        well_lit_teacher=dict(
            taps=['conv1', 'layer1', 'layer2', 'layer3', 'layer4'], loss=dict(type='GramLoss', loss_weight=1e-3)
        ),
        momentum_teacher=dict(burn_in=225, loss=dict(loss_weight=0.5)),
    ),
)
default_hooks = dict(momentum_teacher=dict(type='MomentumTeacherHook'))

train_dataloader = dict(dataset=dict(pipeline=_base_.small_teacher_pipeline))
