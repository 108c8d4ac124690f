# What ExLPose's method changes in a stock bottom-up model. A backbone without batch norms leaves `norm_cfg` out.
lighting_pairs = dict(type='LightingBottomupPoseEstimator', data_preprocessor=dict(merge=()))
lighting_specific = dict(backbone=dict(norm_cfg=dict(type='LSBN2d')), **lighting_pairs)
# Of its head: dict(head=_base_.model.head, **_base_.taught).
taught = dict(_delete_=True, type='DualTeacherHead', well_lit_teacher=dict())
