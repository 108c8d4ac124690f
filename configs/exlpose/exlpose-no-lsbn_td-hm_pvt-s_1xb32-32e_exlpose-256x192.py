# PVT-S taught by the well-lit images (LUPI).
#
# There is no LSBN: a layer norm normalises each token on its own and keeps no statistics that
# two lightings could mix, so a copy per lighting would only double its scale and offset.
_base_ = ['baseline-all_td-hm_pvt-s_1xb32-32e_exlpose-256x192.py']

model = dict(
    **_base_.lighting_pairs,
    head=dict(
        _delete_=True,
        type='DualTeacherHead',
        head=_base_.model.head,
        well_lit_teacher=dict(
            taps=[f'layers.{stage}.0.projection' for stage in range(4)],
            # The share that it has in CPN's loss, whose heatmaps peak at 255 instead of 1.
            loss=dict(type='GramLoss', loss_weight=8e-4 / 255**2),
        ),
    ),
)
