# Adapted without labels on the dark images, whose well-lit partners have them: by features and two teachers.
_base_ = ['exlpose-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py']

model = dict(
    head=dict(well_lit_teacher=dict(_delete_=True, **_base_.feature_teacher), momentum_teacher=_base_.momentum_teacher)
)
default_hooks = dict(momentum_teacher=dict(type='MomentumTeacherHook'))

view = [_base_.load_pair, _base_.add_momentum_view, _base_.thin_student]
train_pipeline = [*view, *_base_.augment, _base_.target, dict(labelled=['well_lit'], **_base_.pack)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
