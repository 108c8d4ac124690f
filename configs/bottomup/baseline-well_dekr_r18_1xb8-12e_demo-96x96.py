# A small DEKR trained on well-lit drawings alone: what the others are measured against.
_base_ = [
    '../_base_/runtime.py',
    '../_base_/datasets/demo_bottomup.py',
    '../_base_/models/dekr_r18-small.py',
    '../_base_/models/lighting_bottomup.py',
    '../_base_/schedules/warm_up.py',
]

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=_base_.best)

model = dict(data_preprocessor=dict(merge=('well_lit',)), head=dict(decoder=_base_.small_codec))
