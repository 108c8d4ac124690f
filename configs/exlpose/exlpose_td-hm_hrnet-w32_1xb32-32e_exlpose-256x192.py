# ExLPose's method on HRNet-W32: LSBN and the well-lit teacher (LUPI).
_base_ = ['baseline-all_td-hm_hrnet-w32_1xb32-32e_exlpose-256x192.py']

model = dict(
    **_base_.lighting_specific,
    head=dict(
        _delete_=True,
        type='DualTeacherHead',
        head=_base_.model.head,
        well_lit_teacher=dict(
            taps=['conv1', 'layer1', 'stage2', 'stage3', 'stage4'],
            # The share that it has in CPN's loss, whose heatmaps peak at 255 instead of 1.
            loss=dict(type='GramLoss', loss_weight=8e-4 / 255**2),
        ),
    ),
)
