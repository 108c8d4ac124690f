# RTMO-s, a single-stage model, from MMPose's weights of CrowdPose, adapted to both lightings at once.
_base_ = ['../_base_/runtime.py', '../_base_/datasets/exlpose_bottomup.py', '../_base_/models/lighting_bottomup.py']
from mmengine.hub import get_config

stock = get_config('mmpose::body_2d_keypoint/rtmo/crowdpose/rtmo-s_8xb32-700e_crowdpose-640x640.py')
load_from = (
    'https://download.openmmlab.com/mmpose/v1/projects/rtmo/rtmo-s_8xb32-700e_crowdpose-640x640-79f81c0d_20231211.pth'
)

max_epochs = 20
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
optim_wrapper = dict(**{**stock.optim_wrapper, 'optimizer': dict(type='AdamW', lr=5e-4, weight_decay=0.05)})
param_scheduler = [
    dict(type='LinearLR', begin=0, end=200, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=_base_.best)

rtmo_size = (640, 640)
rtmo_affine = dict(
    type='PairedRandomAffine',
    input_size=rtmo_size,
    scale_type='long',
    pad_val=114.0,
    distribution='uniform',
    clip_border=True,
)
keep = dict(type='FilterAnnotations', by_kpt=True, by_box=True)
codec = dict(_delete_=True, type='YOLOXPoseAnnotationProcessor', input_size=rtmo_size)
rtmo_target = dict(type='GenerateTarget', encoder=dict(type='YOLOXPoseAnnotationProcessor', input_size=rtmo_size))
train_pipeline = [_base_.load_pair, _base_.normalise, rtmo_affine, _base_.flip, keep, rtmo_target, _base_.pack]
rtmo_resize = dict(type='BottomupResize', input_size=rtmo_size, pad_val=(114, 114, 114))
test_pipeline = [_base_.load, _base_.tag, _base_.normalise, rtmo_resize, _base_.pack]

train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(score_mode='bbox')
test_evaluator = val_evaluator

# Pixels are 0 to 255: the pipeline's low light has a mean of 102.
as_they_are = dict(type='PoseDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[1.0, 1.0, 1.0])
model = dict(
    type='BottomupPoseEstimator',
    data_preprocessor=dict(
        type='LightingDataPreprocessor', low_light=as_they_are, well_lit=as_they_are, merge=('low_light', 'well_lit')
    ),
    backbone=stock.model.backbone,
    neck=stock.model.neck,
    head=stock.model.head,
    test_cfg=stock.model.test_cfg,
)
model['backbone'].pop('init_cfg')
# The weights of losses with which MMPose ends its training.
model['head'].update(proxy_target_cc=True, overlaps_power=1.0)
model['head']['loss_cls']['loss_weight'] = 2.0
model['head']['loss_mle']['loss_weight'] = 5.0
model['head']['loss_oks']['loss_weight'] = 10.0
del stock
