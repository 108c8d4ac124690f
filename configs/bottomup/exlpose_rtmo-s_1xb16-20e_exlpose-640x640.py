# ExLPose's method on RTMO-s: LSBN and the well-lit teacher (LUPI).
_base_ = ['baseline-all_rtmo-s_1xb16-20e_exlpose-640x640.py']

model = dict(
    **_base_.lighting_specific,
    head=dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head, well_lit_teacher=dict()),
)
