# ExLPose's method on a ResNet-18: what changes is the backbone and what the head must know of it.
_base_ = ['exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py']

model = dict(
    backbone=dict(depth=18, init_cfg=dict(checkpoint='torchvision://resnet18')),
    head=dict(head=dict(in_channels=(64, 128, 256, 512))),
)
