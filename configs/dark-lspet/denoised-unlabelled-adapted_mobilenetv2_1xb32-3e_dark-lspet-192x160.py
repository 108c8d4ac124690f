# The stock model that learned in the light, as it is; a denoiser before it learns from pairs. No label in the dark.
_base_ = ['baseline-all-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py']

model = dict(
    frozen=True,
    backbone=_base_.denoised,
    head=dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head, well_lit_teacher=_base_.denoising_teacher),
    **_base_.lighting_pairs,
)

max_epochs = 3
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]

train_pipeline = [_base_.load_pair, *_base_.augment, _base_.target, dict(labelled=[], **_base_.pack)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
