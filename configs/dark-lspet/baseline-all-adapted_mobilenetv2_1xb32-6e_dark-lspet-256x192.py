# The model that was adapted to both lightings at once at 192x160, trained on at 256x192 and in milder jitter.
_base_ = ['baseline-all-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py']

load_from = 'work_dirs/adapted-baseline-all/epoch_12.pth'  # of baseline-all-adapted_mobilenetv2_1xb32-12e_*
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]

input_size = (192, 256)
codec = dict(input_size=input_size, heatmap_size=(48, 64), blur_kernel_size=11)
full_codec = dict(_base_.full_codec, **codec)
model = dict(head=dict(decoder=full_codec))

crop = dict(type='TopdownAffine', input_size=input_size)
normalise = dict(
    type='OnLighting',
    lighting='low_light',
    transforms=[dict(type='ScaleToMean', crop=crop), dict(type='AntiAlias', input_size=input_size)],
)
jitter = dict(type='RandomBBoxTransform', shift_prob=0.0, scale_factor=(0.8, 1.2), rotate_factor=30, rotate_prob=0.6)
target = dict(type='GenerateTarget', encoder=full_codec)
augment = [_base_.box, _base_.flip, jitter, normalise, crop]
train_pipeline = [_base_.load_pair, *augment, target, _base_.pack]
test_pipeline = [_base_.load, _base_.tag, _base_.box, normalise, crop, _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
