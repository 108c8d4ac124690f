# The stock model that learned in the light, adapted to both lightings at once.
_base_ = [
    '../_base_/runtime.py',
    '../_base_/datasets/dark_lspet.py',
    '../_base_/models/td-hm_mobilenetv2.py',
    '../_base_/models/lighting.py',
    '../_base_/schedules/warm_up.py',
    '../_base_/fast.py',
]

load_from = 'work_dirs/well-lit/epoch_40.pth'  # of configs/lspet/well-lit_*
max_epochs = 1
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    constructor='GroupedOptimWrapperConstructor',
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0),
    **_base_.bf16,
)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]
default_hooks = dict(checkpoint=_base_.best, **_base_.channels_last)

input_size = (160, 192)
codec = dict(input_size=input_size, heatmap_size=(40, 48), sigma=2.0, blur_kernel_size=9)
full_codec = dict(_base_.codec, **codec)
model = dict(head=dict(decoder=full_codec))

crop = dict(type='TopdownAffine', input_size=input_size)
normalise = dict(
    type='OnLighting',
    lighting='low_light',
    transforms=[dict(type='ScaleToMean', crop=crop), dict(type='AntiAlias', input_size=input_size)],
)
jitter = dict(type='RandomBBoxTransform', shift_prob=0.3, scale_factor=(0.7, 1.3), rotate_factor=60, rotate_prob=0.6)
target = dict(type='GenerateTarget', encoder=full_codec)
augment = [_base_.box, _base_.flip, jitter, normalise, crop]
train_pipeline = [_base_.load_pair, *augment, target, _base_.pack]
test_pipeline = [_base_.load, _base_.tag, _base_.box, normalise, crop, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
