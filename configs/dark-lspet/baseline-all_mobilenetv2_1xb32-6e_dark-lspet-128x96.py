# Stock MMPose, trained on both lightings at once, the dark one by a calibrated camera.
_base_ = [
    '../_base_/runtime.py',
    '../_base_/datasets/dark_lspet.py',
    '../_base_/models/td-hm_mobilenetv2.py',
    '../_base_/models/lighting.py',
    '../_base_/schedules/warm_up.py',
]

max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=_base_.best)

model = dict(head=dict(decoder=_base_.codec))
