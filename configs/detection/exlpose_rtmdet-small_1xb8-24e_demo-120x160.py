# ExLPose's method on a narrow RTMDet, from random weights, on generated data: minutes on a CPU.
_base_ = [
    '../_base_/runtime_detection.py',
    '../_base_/datasets/demo_boxes.py',
    '../_base_/models/rtmdet_tiny.py',
    '../_base_/models/lighting_detection.py',
    '../_base_/schedules/warm_up.py',
]

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=_base_.best)

model = dict(
    _base_.lighting_detection,
    detector='RTMDet',
    backbone=dict(widen_factor=0.25, init_cfg=dict(_delete_=True, type='Kaiming', layer='Conv2d'), **_base_.lsbn),
    neck=dict(in_channels=[64, 128, 256], out_channels=64),
    bbox_head=dict(in_channels=64, feat_channels=64),
    well_lit_teacher=dict(loss=dict(type='GramLoss', loss_weight=0.2)),  # features of random weights are small
)
