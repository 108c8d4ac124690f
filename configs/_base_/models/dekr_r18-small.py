# DEKR on a narrow ResNet-18, from random weights, as a stock MMPose model fed with both
# lightings. The decoder is the data's.
_base_ = []

model = dict(
    type='BottomupPoseEstimator',
    data_preprocessor=dict(
        type='LightingDataPreprocessor',
        # The pipeline has scaled low light: 255 is all that is divided out.
        low_light=dict(type='PoseDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True),
        well_lit=dict(
            type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
        ),
        merge=('low_light', 'well_lit'),
    ),
    backbone=dict(
        type='ResNet', depth=18, stem_channels=16, base_channels=16, out_indices=(0, 1, 2, 3), norm_cfg=dict(type='BN')
    ),
    neck=dict(type='FeatureMapProcessor', concat=True),
    head=dict(
        type='MultiScaleDEKRHead',
        in_channels=240,
        num_keypoints=14,
        num_displacement_filters_per_keypoint=4,
        heatmap_loss=dict(type='KeypointMSELoss', use_target_weight=True, loss_weight=100.0),
        displacement_loss=dict(
            type='SoftWeightSmoothL1Loss', use_target_weight=True, supervise_empty=False, beta=1 / 9, loss_weight=0.4
        ),
        # MMPose's 0.001 is too small for Adam's steps: they would drown it.
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.02),
    ),
    test_cfg=dict(flip_test=True, nms_dist_thr=0.05, max_num_people=20, shift_heatmap=False),
)
