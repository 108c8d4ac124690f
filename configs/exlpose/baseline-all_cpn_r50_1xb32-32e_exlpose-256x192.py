# The paper's baseline-all: stock MMPose and the CPN head, trained on both lightings at once.
_base_ = ['../_base_/exlpose.py', '../_base_/schedule_32e.py', '../_base_/lighting.py']

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='LightingDataPreprocessor',
        low_light=_base_.low_light_input,
        well_lit=dict(
            type='PoseDataPreprocessor',
            mean=[88.1535, 88.23, 88.3065],  # 255 x (0.3457, 0.3460, 0.3463)
            std=[37.6635, 37.791, 37.8165],  # 255 x (0.1477, 0.1482, 0.1483)
            bgr_to_rgb=True,
        ),
        merge=('low_light', 'well_lit'),
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='BN'),
        init_cfg=dict(
            type='Pretrained', checkpoint=__import__('os').environ.get('PRETRAINED', 'torchvision://resnet50')
        ),
    ),
    head=dict(
        type='CPNHead',
        in_channels=(256, 512, 1024, 2048),
        out_channels=14,
        heatmap_size=_base_.codec['heatmap_size'],
        decoder=_base_.codec,
    ),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=False),
)
