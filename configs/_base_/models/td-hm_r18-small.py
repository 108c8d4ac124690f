# ExLPose's method on a narrow ResNet-18 with a small heatmap head, from random weights. The decoder is the data's.
model = dict(
    type='LightingPoseEstimator',
    data_preprocessor=dict(
        type='LightingDataPreprocessor',
        # The pipeline has scaled low light: 255 is all that is divided out.
        low_light=dict(type='PoseDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True),
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
        ),
        well_lit_teacher=dict(taps=['conv1', 'layer1', 'layer2', 'layer3', 'layer4'], loss=dict(type='GramLoss')),
    ),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True),
)
