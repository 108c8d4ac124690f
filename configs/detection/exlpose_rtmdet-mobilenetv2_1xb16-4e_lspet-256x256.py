# ExLPose's method in a small RTMDet on the backbone of the pose model in the box: the detector in the box.
_base_ = [
    '../_base_/runtime_detection.py',
    '../_base_/datasets/exlpose_boxes.py',
    '../_base_/datasets/lspet_boxes_darkened.py',
    '../_base_/models/rtmdet_tiny.py',
    '../_base_/models/lighting_detection.py',
    '../_base_/schedules/warm_up.py',
    '../_base_/fast.py',
]
from exlpose_mm.engine.zoo import WEIGHTS

load_from = WEIGHTS
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    constructor='GroupedOptimWrapperConstructor',
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
    **_base_.bf16,
)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=_base_.best, **_base_.channels_last)

find_unused_parameters = True  # MobileNetV2's last convolution

# As the pose model has it.
lighting_detection = dict(
    _base_.lighting_detection,
    data_preprocessor=dict(
        low_light=dict(bgr_to_rgb=True),
        well_lit=dict(bgr_to_rgb=True, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
        merge=(),
    ),
)
model = dict(
    lighting_detection,
    detector='RTMDet',
    backbone=dict(_delete_=True, type='mmpose.MobileNetV2', out_indices=(2, 4, 6), **_base_.lsbn),
    neck=dict(in_channels=[32, 96, 320]),
    test_cfg=dict(nms=dict(iou_threshold=0.5)),
)

data_root = _base_.coco_root
train_dataloader = _base_.mosaic_train_dataloader
val_dataloader = _base_.rows_val_dataloader
test_dataloader = val_dataloader
val_evaluator = _base_.rows_val_evaluator
test_evaluator = val_evaluator
