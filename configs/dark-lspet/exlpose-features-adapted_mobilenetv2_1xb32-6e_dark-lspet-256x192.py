# ExLPose's adapted model, trained on at 256x192 by features and in milder jitter: the model in the box.
_base_ = ['baseline-all-adapted_mobilenetv2_1xb32-6e_dark-lspet-256x192.py']

load_from = 'work_dirs/adapted/epoch_12.pth'  # of exlpose-adapted_mobilenetv2_1xb32-12e_*
model = dict(
    **_base_.lighting_specific,
    head=dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head, well_lit_teacher=_base_.feature_teacher),
)
