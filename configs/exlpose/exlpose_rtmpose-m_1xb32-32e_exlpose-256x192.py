# ExLPose's method on RTMPose-m: LSBN and the well-lit teacher (LUPI).
_base_ = ['baseline-all_rtmpose-m_1xb32-32e_exlpose-256x192.py']

model = dict(
    **_base_.lighting_specific,
    head=dict(
        _delete_=True,
        type='DualTeacherHead',
        head=_base_.model.head,
        well_lit_teacher=dict(
            taps=['stem.0.conv', 'stage1', 'stage2', 'stage3', 'stage4'],
            # CPN's losses start about 500 times higher.
            loss=dict(type='GramLoss', loss_weight=8e-4 / 500),
        ),
    ),
)
