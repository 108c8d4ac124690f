# PVT-S, a transformer of MMPose's without any batch norm, trained on both lightings at once.
_base_ = ['baseline-all_td-hm_r50_1xb32-32e_exlpose-256x192.py']
from mmengine.hub import get_config

stock = get_config('mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_pvt-s_8xb64-210e_coco-256x192.py').model
model = dict(
    backbone=dict(_delete_=True, **stock.backbone), neck=stock.neck, head=dict(in_channels=stock.head.in_channels)
)
del stock
