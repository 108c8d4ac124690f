# ExLPose's method on associative embedding and a momentum teacher, which sees more of people's light than the student.
_base_ = ['baseline-all_ae_hrnet-w32_1xb10-100e_exlpose-512x512.py']

model = dict(
    **_base_.lighting_specific, head=dict(head=_base_.model.head, momentum_teacher=dict(burn_in=2000), **_base_.taught)
)
default_hooks = dict(momentum_teacher=dict(type='MomentumTeacherHook'))
train_dataloader = dict(dataset=dict(pipeline=_base_.ae_teacher_pipeline))
