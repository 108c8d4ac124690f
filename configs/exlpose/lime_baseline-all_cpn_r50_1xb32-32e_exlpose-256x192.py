# Enhance, then estimate: baseline-all on low-light frames that LIME has brightened.
_base_ = ['baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py']

enhance = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='LowLightEnhance', method='lime')])
# In place of scaling to a common mean.
train_pipeline = [_base_.load_pair, enhance, _base_.train_crop, _base_.target, _base_.pack]
test_pipeline = [_base_.load, _base_.tag, enhance, _base_.test_crop, _base_.pack]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# An enhanced frame is normalised as a well-lit one is.
model = dict(data_preprocessor=dict(low_light=_base_.model.data_preprocessor.well_lit))
