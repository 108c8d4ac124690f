# MMDetection's Faster R-CNN on a ResNet-50 with FPN for people, fed with both lightings.
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py']
from exlpose_mm.engine.variables import variable

model = dict(
    data_preprocessor=dict(
        _delete_=True,
        type='LightingDetDataPreprocessor',
        # The pipeline has scaled low light: 255 is all that is divided out.
        low_light=dict(
            type='DetDataPreprocessor',
            mean=[0.0, 0.0, 0.0],
            std=[255.0, 255.0, 255.0],
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        well_lit=dict(
            type='DetDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        merge=('low_light', 'well_lit'),
    ),
    # All norms learn: the statistics of the dark are none of ImageNet's.
    backbone=dict(
        frozen_stages=-1,
        norm_eval=False,
        norm_cfg=dict(type='BN'),
        init_cfg=dict(checkpoint=variable('pretrained', 'torchvision://resnet50')),
    ),
    roi_head=dict(bbox_head=dict(num_classes=1)),
)
