# ExLPose's method, trained in the dark of naive gamma darkening.
_base_ = ['exlpose_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

train_pipeline = [dict(type='LoadLabelledImage'), dict(type='GammaDarken'), *_base_.after_loading]
train_dataloader = dict(dataset=dict(lighting='well_lit', pipeline=train_pipeline))
