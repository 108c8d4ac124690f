# ExLPose's method: LSBN and the well-lit teacher (LUPI).
_base_ = ['baseline-all_mobilenetv2_1xb32-8e_lspet-128x96.py']

model = dict(
    **_base_.lighting_specific,
    head=dict(
        _delete_=True,
        type='DualTeacherHead',
        head=_base_.model.head,
        # conv1 after its norm and activation: before them its scale is free, and the loss,
        # which trains one side only, drives it up without end.
        well_lit_teacher=dict(
            taps=['conv1', 'layer2', 'layer3', 'layer5', 'layer7'],
            loss=dict(type='GramLoss', loss_weight=2.0))))
