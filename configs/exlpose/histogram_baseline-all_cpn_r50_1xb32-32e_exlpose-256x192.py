# Enhance, then estimate: baseline-all on low-light frames with an equalised histogram.
_base_ = ['lime_baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py']

enhance = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='LowLightEnhance', method='histogram')])
train_pipeline = [_base_.load_pair, enhance, _base_.train_crop, _base_.target, _base_.pack]
test_pipeline = [_base_.load, _base_.tag, enhance, _base_.test_crop, _base_.pack]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
