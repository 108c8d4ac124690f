# DA-LLPose's main teacher, DEKR, before it has seen darkness: trained on well-lit images.
_base_ = [
    '../_base_/runtime.py',
    '../_base_/datasets/da_llpose.py',
    '../_base_/models/bottomup_hrnet-w32.py',
    '../_base_/schedules/steps.py',
]

train_cfg = dict(max_epochs=100, val_interval=10)
default_hooks = dict(checkpoint=_base_.best)

model = dict(**_base_.dekr)
model['data_preprocessor'] = dict(_delete_=True, **_base_.unscaled)
model['head'] = dict(_base_.dekr.head, decoder=_base_.dekr_codec)
