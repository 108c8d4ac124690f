# RTMDet-tiny, trained on both lightings as one set of images.
_base_ = [
    '../_base_/runtime_detection.py',
    '../_base_/datasets/exlpose_boxes.py',
    '../_base_/models/rtmdet_tiny.py',
    '../_base_/schedules/detection_adamw.py',
]

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=_base_.best)

train_dataloader = dict(dataset=dict(pipeline=_base_.cropped_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_base_.small_pipeline))
test_dataloader = val_dataloader
