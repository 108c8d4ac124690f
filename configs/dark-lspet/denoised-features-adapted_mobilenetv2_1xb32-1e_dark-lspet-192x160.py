# The model with a denoiser, adapted with LSBN; the well-lit image teaches features.
_base_ = ['baseline-all-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py']

load_from = 'work_dirs/denoised/epoch_3.pth'  # of denoised-unlabelled-adapted_*
model = dict(
    backbone=dict(**_base_.lighting_specific.backbone, **_base_.denoised),
    head=dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head, well_lit_teacher=_base_.feature_teacher),
    **_base_.lighting_pairs,
)
