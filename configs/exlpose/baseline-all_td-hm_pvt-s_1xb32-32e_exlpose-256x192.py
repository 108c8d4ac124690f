# PVT-S, a transformer of MMPose's without any batch norm, trained on both lightings at once.
_base_ = ['baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py']
from mmengine.hub import get_config

stock = get_config('mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_pvt-s_8xb64-210e_coco-256x192.py').model

codec, train_pipeline = _base_.msra_codec, _base_.msra_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    backbone=dict(_delete_=True, **stock.backbone),
    neck=stock.neck,
    head=dict(_delete_=True, **{**stock.head, 'out_channels': 14, 'decoder': codec}),
    test_cfg=dict(shift_heatmap=True),
)
del stock
