# DEKR on HRNet-W32, trained on both lightings at once: no boxes given.
_base_ = [
    '../_base_/runtime.py',
    '../_base_/datasets/exlpose_bottomup.py',
    '../_base_/models/bottomup_hrnet-w32.py',
    '../_base_/models/lighting_bottomup.py',
    '../_base_/schedules/steps.py',
]

train_cfg = dict(max_epochs=100, val_interval=10)
default_hooks = dict(checkpoint=_base_.best)

model = dict(**_base_.dekr)
model['head'] = dict(_base_.dekr.head, decoder=_base_.dekr_codec)
