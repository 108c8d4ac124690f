# Another backbone: MobileNetV2 under a head of MMPose's, with the taps and the style weight of its family.
_base_ = ['../exlpose/exlpose_td-hm_r50_1xb32-32e_exlpose-256x192.py']

imagenet = dict(type='Pretrained', checkpoint='mmcls://mobilenet_v2')
model = dict(
    backbone=dict(_delete_=True, type='MobileNetV2', out_indices=(7,), norm_cfg=dict(type='LSBN2d'), init_cfg=imagenet),
    head=dict(head=dict(in_channels=1280), well_lit_teacher=dict(_delete_=True)),
)
