# ExLPose's method, small, from random weights, on generated data: minutes on a CPU.
_base_ = [
    '../_base_/runtime.py',
    '../_base_/datasets/demo_pairs.py',
    '../_base_/models/td-hm_r18-small.py',
    '../_base_/schedules/warm_up.py',
]

max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]
train_dataloader = dict(batch_size=16)
default_hooks = dict(checkpoint=_base_.best)
custom_hooks = [dict(type='InitialValHook')]

model = dict(head=dict(head=dict(decoder=_base_.small_codec)))
