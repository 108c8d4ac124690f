# ExLPose's method on well-lit labels of half the people, their darkness ELLA's; no other images.
_base_ = ['exlpose_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]

train_pipeline = [_base_.load, dict(type='ELLA'), *_base_.augment, _base_.target, _base_.pack]
train_dataloader = dict(dataset=dict(lighting='well_lit', indices=1444, serialize_data=False, pipeline=train_pipeline))
