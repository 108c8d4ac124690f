# The paper's model: CPN on a ResNet-50 with LSBN, taught by the well-lit images (LUPI).
_base_ = ['baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py']

model = dict(
    **_base_.lighting_specific,
    head=dict(
        _delete_=True,
        type='DualTeacherHead',
        head=_base_.model.head,
        well_lit_teacher=dict(
            taps=['conv1', 'layer1', 'layer2', 'layer3', 'layer4'],
            # The official 1e-4 on the sum over a batch of 32; see GramLoss.
            loss=dict(type='GramLoss', loss_weight=8e-4),
        ),
    ),
)
