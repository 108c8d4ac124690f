# Written by tools/publish_model.py: what prediction needs of
# exlpose_rtmdet-mobilenetv2_1xb16-4e_lspet-256x256.py
# fmt: off
custom_imports = dict(
    allow_failed_imports=False, imports=[
        'exlpose_mm',
    ])
default_scope = 'mmdet'
model = dict(
    backbone=dict(
        norm_cfg=dict(type='LSBN2d'),
        out_indices=(
            2,
            4,
            6,
        ),
        type='mmpose.MobileNetV2'),
    bbox_head=dict(
        act_cfg=dict(inplace=True, type='SiLU'),
        anchor_generator=dict(
            offset=0, strides=[
                8,
                16,
                32,
            ], type='MlvlPointGenerator'),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        exp_on_reg=False,
        feat_channels=96,
        in_channels=96,
        loss_bbox=dict(loss_weight=2.0, type='GIoULoss'),
        loss_cls=dict(
            beta=2.0,
            loss_weight=1.0,
            type='QualityFocalLoss',
            use_sigmoid=True),
        norm_cfg=dict(type='BN'),
        num_classes=1,
        pred_kernel_size=1,
        share_conv=True,
        stacked_convs=2,
        test_cfg=dict(
            max_per_img=100,
            min_bbox_size=0,
            nms=dict(iou_threshold=0.5, type='nms'),
            nms_pre=30000,
            score_thr=0.001),
        train_cfg=None,
        type='RTMDetSepBNHead',
        with_objectness=False),
    data_preprocessor=dict(
        low_light=dict(
            bgr_to_rgb=True,
            mean=[
                0.0,
                0.0,
                0.0,
            ],
            pad_size_divisor=32,
            std=[
                255.0,
                255.0,
                255.0,
            ],
            type='DetDataPreprocessor'),
        merge=(),
        type='LightingDetDataPreprocessor',
        well_lit=dict(
            bgr_to_rgb=True,
            mean=[
                123.675,
                116.28,
                103.53,
            ],
            pad_size_divisor=32,
            std=[
                58.395,
                57.12,
                57.375,
            ],
            type='DetDataPreprocessor')),
    detector='RTMDet',
    neck=dict(
        act_cfg=dict(inplace=True, type='SiLU'),
        expand_ratio=0.5,
        in_channels=[
            32,
            96,
            320,
        ],
        norm_cfg=dict(type='BN'),
        num_csp_blocks=1,
        out_channels=96,
        type='CSPNeXtPAFPN'),
    test_cfg=dict(
        max_per_img=100,
        min_bbox_size=0,
        nms=dict(iou_threshold=0.5, type='nms'),
        nms_pre=30000,
        score_thr=0.001),
    type='LightingDetector')
test_dataloader = dict(
    dataset=dict(
        metainfo=dict(classes=('person', ), palette=[
            (
                220,
                20,
                60,
            ),
        ]),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='TagLighting'),
            dict(
                lighting='low_light',
                transforms=[
                    dict(type='ScaleToMean'),
                ],
                type='OnLighting'),
            dict(
                interpolation='area',
                keep_ratio=True,
                scale=(
                    320,
                    320,
                ),
                type='Resize'),
            dict(type='PackPairedDetInputs'),
        ],
        type='CocoDataset'))
visualizer = dict(
    name='visualizer',
    type='DetLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
    ])
