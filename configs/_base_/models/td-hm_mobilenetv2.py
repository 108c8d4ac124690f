# MobileNetV2 with a small heatmap head, as a stock MMPose model fed with both lightings. The decoder is the data's.
_base_ = []
from exlpose_mm.engine.variables import variable

pretrained = variable('pretrained', 'mmcls://mobilenet_v2')

model = dict(
    type='TopdownPoseEstimator',
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
    ),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True),
)

# For the configs that learn from it. conv1 is tapped after its norm and activation: before them
# its scale is free, and the loss, which trains one side only, drives it up without end.
well_lit_teacher = dict(
    taps=['conv1', 'layer2', 'layer3', 'layer5', 'layer7'], loss=dict(type='GramLoss', loss_weight=2.0)
)
# In its place: what each position of the well-lit image evokes. In early layers noise cannot be told from it.
feature_teacher = dict(taps=['layer3', 'layer5', 'layer7', 'conv2'], loss=dict(type='FeatureLoss', loss_weight=3.0))

# For the configs with a denoiser: it is taught by the well-lit image itself and by all that it evokes.
denoised = dict(type='DenoisedBackbone', backbone='MobileNetV2')
denoising_teacher = dict(
    taps=['denoiser', 'conv1', 'layer2', 'layer3', 'layer5', 'layer7', 'conv2'],
    loss=dict(type='FeatureLoss', loss_weight=7.0),
)
