# Written by tools/publish_model.py: what prediction needs of
# exlpose-features-adapted_mobilenetv2_1xb32-6e_dark-lspet-256x192.py
# fmt: off
custom_imports = dict(
    allow_failed_imports=False, imports=[
        'exlpose_mm',
    ])
data_mode = 'topdown'
dataset_type = 'ExLPoseDataset'
default_scope = 'mmpose'
model = dict(
    backbone=dict(
        norm_cfg=dict(type='LSBN2d'), out_indices=(7, ), type='MobileNetV2'),
    data_preprocessor=dict(
        low_light=dict(
            bgr_to_rgb=True,
            mean=[
                0.0,
                0.0,
                0.0,
            ],
            std=[
                255.0,
                255.0,
                255.0,
            ],
            type='PoseDataPreprocessor'),
        merge=(),
        type='LightingDataPreprocessor',
        well_lit=dict(
            bgr_to_rgb=True,
            mean=[
                123.675,
                116.28,
                103.53,
            ],
            std=[
                58.395,
                57.12,
                57.375,
            ],
            type='PoseDataPreprocessor')),
    head=dict(
        decoder=dict(
            blur_kernel_size=11,
            heatmap_size=(
                48,
                64,
            ),
            input_size=(
                192,
                256,
            ),
            sigma=2.0,
            type='SoftmaxHeatmap',
            unbiased=True),
        deconv_out_channels=(
            128,
            128,
            128,
        ),
        in_channels=1280,
        loss=dict(type='HeatmapCrossEntropyLoss'),
        out_channels=14,
        type='HeatmapHead'),
    test_cfg=dict(flip_mode='heatmap', flip_test=True, shift_heatmap=True),
    type='LightingPoseEstimator')
test_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type='LoadLabelledImage'),
            dict(type='TagLighting'),
            dict(type='GetBBoxCenterScale'),
            dict(
                lighting='low_light',
                transforms=[
                    dict(
                        crop=dict(
                            input_size=(
                                192,
                                256,
                            ), type='TopdownAffine'),
                        type='ScaleToMean'),
                    dict(input_size=(
                        192,
                        256,
                    ), type='AntiAlias'),
                ],
                type='OnLighting'),
            dict(input_size=(
                192,
                256,
            ), type='TopdownAffine'),
            dict(type='PackPairedInputs'),
        ],
        type='ExLPoseDataset'))
train_dataloader = dict(dataset=dict(type='ExLPoseDataset'))
visualizer = dict(
    _scope_='mmpose',
    name='visualizer',
    type='LightingVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ])
