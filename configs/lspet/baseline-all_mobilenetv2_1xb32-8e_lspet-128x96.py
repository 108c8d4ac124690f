# Stock MMPose, trained on both lightings at once.
_base_ = ['../_base_/default_runtime.py', '../_base_/lspet.py', '../_base_/lighting.py']

max_epochs = 8
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True),
]

pretrained = __import__('os').environ.get('PRETRAINED', 'mmcls://mobilenet_v2')

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='LightingDataPreprocessor',
        low_light=_base_.low_light_input,
        well_lit=dict(
            type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
        ),
        merge=('low_light', 'well_lit'),
    ),
    backbone=dict(
        type='MobileNetV2',
        out_indices=(7,),
        norm_cfg=dict(type='BN'),
        init_cfg=dict(type='Pretrained', checkpoint=pretrained),
    ),
    head=dict(
        type='HeatmapHead',
        in_channels=1280,
        out_channels=14,
        deconv_out_channels=(128, 128, 128),
        loss=dict(type='HeatmapCrossEntropyLoss'),
        # MMPose's 0.001 is too small for Adam's steps: they would drown it.
        init_cfg=[
            dict(type='Normal', layer='ConvTranspose2d', std=0.02),
            dict(type='Normal', layer='Conv2d', std=0.01),
        ],
        decoder=_base_.codec,
    ),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True),
)

# For the configs that learn from it. conv1 is tapped after its norm and activation: before them
# its scale is free, and the loss, which trains one side only, drives it up without end.
well_lit_teacher = dict(
    taps=['conv1', 'layer2', 'layer3', 'layer5', 'layer7'], loss=dict(type='GramLoss', loss_weight=2.0)
)
