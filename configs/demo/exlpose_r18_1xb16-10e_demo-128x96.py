# ExLPose's method, small, from random weights, on generated data: minutes on a CPU.
_base_ = ['../_base_/default_runtime.py', '../_base_/demo.py', '../_base_/lighting.py']

max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=50, start_factor=0.01, by_epoch=False),
    dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True),
]
train_dataloader = dict(batch_size=16)
custom_hooks = [*_base_.custom_hooks, dict(type='InitialValHook')]

model = dict(
    type='LightingPoseEstimator',
    data_preprocessor=dict(
        type='LightingDataPreprocessor',
        low_light=_base_.low_light_input,
        well_lit=dict(
            type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
        ),
    ),
    backbone=dict(type='ResNet', depth=18, stem_channels=32, base_channels=32, norm_cfg=dict(type='LSBN2d')),
    head=dict(
        type='DualTeacherHead',
        head=dict(
            type='HeatmapHead',
            in_channels=256,
            out_channels=14,
            deconv_out_channels=(64, 64, 64),
            loss=dict(type='HeatmapCrossEntropyLoss'),
            decoder=_base_.small_codec,
        ),
        well_lit_teacher=dict(taps=['conv1', 'layer1', 'layer2', 'layer3', 'layer4'], loss=dict(type='GramLoss')),
    ),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True),
)
