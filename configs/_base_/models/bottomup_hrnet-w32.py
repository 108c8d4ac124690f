# HRNet-W32 with DEKR's head, or that of associative embedding, fed with both lightings. The decoder is the data's.
_base_ = []
from mmengine.hub import get_config

from exlpose_mm.engine.variables import variable

stock = get_config('mmpose::body_2d_keypoint/dekr/crowdpose/dekr_hrnet-w32_8xb10-300e_crowdpose-512x512.py').model
stock.head.pop('rescore_cfg')  # of one scale only
stock.backbone.init_cfg.checkpoint = variable('pretrained', stock.backbone.init_cfg.checkpoint)

model = dict(
    type='MultiScaleBottomupPoseEstimator',
    data_preprocessor=dict(
        type='LightingDataPreprocessor',
        # The pipeline has scaled low light: 255 is all that is divided out.
        low_light=dict(type='PoseDataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0], bgr_to_rgb=True),
        well_lit=stock.data_preprocessor,
        merge=('low_light', 'well_lit'),
    ),
    backbone=dict(norm_cfg=dict(type='BN'), **stock.backbone),
)
dekr = dict(
    neck=stock.neck,
    head=dict(**{**stock.head, 'type': 'MultiScaleDEKRHead'}),
    test_cfg=dict(multiscale_test=True, flip_test=True, shift_heatmap=True, nms_dist_thr=0.05, max_num_people=20),
)
ae = dict(
    head=dict(
        type='AEHead',
        in_channels=32,
        num_keypoints=14,
        deconv_out_channels=None,
        keypoint_loss=dict(type='KeypointMSELoss', use_target_weight=True),
        tag_loss=dict(type='AssociativeEmbeddingLoss', loss_weight=0.001),
    ),
    test_cfg=dict(multiscale_test=True, flip_test=True, shift_heatmap=False, restore_heatmap_size=True),
)
del stock
