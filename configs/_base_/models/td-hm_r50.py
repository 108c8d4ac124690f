# ResNet-50 with MMPose's heatmap head ("SimpleBaseline"), fed with both lightings. The decoder is the data's.
_base_ = []
from exlpose_mm.engine.variables import variable

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor=dict(
        type='LightingDataPreprocessor',
        # The pipeline has scaled low light: 255 is all that is divided out.
        low_light=dict(type='PoseDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True),
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
        out_indices=(3,),
        norm_cfg=dict(type='BN'),
        init_cfg=dict(type='Pretrained', checkpoint=variable('pretrained', 'torchvision://resnet50')),
    ),
    head=dict(
        type='HeatmapHead', in_channels=2048, out_channels=14, loss=dict(type='KeypointMSELoss', use_target_weight=True)
    ),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True),
)
