# Associative embedding on HRNet-W32, trained on both lightings at once: no boxes given.
_base_ = [
    '../_base_/runtime.py',
    '../_base_/datasets/exlpose_bottomup.py',
    '../_base_/models/bottomup_hrnet-w32.py',
    '../_base_/models/lighting_bottomup.py',
    '../_base_/schedules/steps.py',
]

codec = dict(_delete_=True, **_base_.ae_codec)
train_cfg = dict(max_epochs=100, val_interval=10)
default_hooks = dict(checkpoint=_base_.best)
train_dataloader = dict(dataset=dict(pipeline=_base_.ae_pipeline))

model = dict(**_base_.ae)
# Maps are enlarged to the input before joints are looked for.
model['head'] = dict(_base_.ae.head, decoder=dict(_base_.ae_codec, heatmap_size=_base_.input_size))
model['backbone'] = dict(extra=dict(stage4=dict(multiscale_output=False)))
