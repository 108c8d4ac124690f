# ExLPose's method on DEKR and a momentum teacher, which sees people with more of their light than the student.
_base_ = ['baseline-all_dekr_hrnet-w32_1xb10-100e_exlpose-512x512.py']

model = dict(
    **_base_.lighting_specific, head=dict(head=_base_.model.head, momentum_teacher=dict(burn_in=2000), **_base_.taught)
)
default_hooks = dict(momentum_teacher=dict(type='MomentumTeacherHook'))
train_dataloader = dict(dataset=dict(pipeline=_base_.dekr_teacher_pipeline))
