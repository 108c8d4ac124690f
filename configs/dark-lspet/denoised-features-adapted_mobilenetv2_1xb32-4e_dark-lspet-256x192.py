# A model with LSBN at 256x192 and a denoiser, trained on by features and in milder jitter.
_base_ = ['baseline-all-adapted_mobilenetv2_1xb32-6e_dark-lspet-256x192.py']

load_from = 'work_dirs/box-start.pth'  # see docs/results.md
max_epochs = 4
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]
model = dict(
    backbone=dict(**_base_.lighting_specific.backbone, **_base_.denoised),
    head=dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head, well_lit_teacher=_base_.feature_teacher),
    **_base_.lighting_pairs,
)
