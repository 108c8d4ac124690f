# ExLPose's method on RTMO-s and a momentum teacher, which sees people with more of their light than the student.
_base_ = ['baseline-all_rtmo-s_1xb16-20e_exlpose-640x640.py']

model = dict(
    **_base_.lighting_specific, head=dict(head=_base_.model.head, momentum_teacher=dict(burn_in=500), **_base_.taught)
)
default_hooks = dict(momentum_teacher=dict(type='MomentumTeacherHook'))

train_pipeline = [
    _base_.load_pair,
    _base_.add_momentum_view,
    _base_.darken_people,
    _base_.normalise,
    _base_.rtmo_affine,
    _base_.flip,
    _base_.keep,
    _base_.rtmo_target,
    _base_.pack,
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
