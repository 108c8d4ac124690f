# RTMPose-m (CSPNeXt, SimCC), trained on both lightings at once, by this folder's schedule.
_base_ = ['baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py']
from mmengine.hub import get_config

stock = get_config('mmpose::body_2d_keypoint/rtmpose/crowdpose/rtmpose-m_8xb64-210e_crowdpose-256x192.py')
codec = dict(_delete_=True, **stock.codec)

target = dict(type='GenerateTarget', encoder=stock.codec)
train_pipeline = [_base_.load_pair, _base_.normalise, _base_.train_crop, target, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    backbone=dict(_delete_=True, **stock.model.backbone),
    head=dict(_delete_=True, **stock.model.head),
    test_cfg=dict(_delete_=True, **stock.model.test_cfg),
)
model['backbone']['norm_cfg'] = dict(type='BN')  # one GPU needs no SyncBN
del stock
