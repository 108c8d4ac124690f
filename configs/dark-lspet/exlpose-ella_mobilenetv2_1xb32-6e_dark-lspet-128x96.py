# ExLPose's method, trained in the dark of DA-LLPose's augmentation (ELLA).
_base_ = ['exlpose_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

train_pipeline = [_base_.load, dict(type='ELLA'), *_base_.augment, _base_.target, _base_.pack]
train_dataloader = dict(dataset=dict(lighting='well_lit', pipeline=train_pipeline))
