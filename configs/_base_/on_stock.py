# What a config takes from this package that inherits one of stock MMPose's and names this file beside it.
custom_imports = dict(imports=['exlpose_mm'], allow_failed_imports=False)

# LSBN, and a head that is taught by the well-lit image: dict(head=_base_.model.head, **_base_.taught).
lighting_specific = dict(type='LightingPoseEstimator', backbone=dict(norm_cfg=dict(type='LSBN2d')))
taught = dict(_delete_=True, type='DualTeacherHead', well_lit_teacher=dict())

# Or the model as it is behind a denoiser: this, and backbone=dict(type='DenoisedBackbone', backbone=...).
frozen = dict(type='LightingPoseEstimator', frozen=True)

# Those of runtime.py, with the best row of the data's table.
hooks = dict(
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2, save_best='LL-A/AP', rule='greater'),
    logger=dict(interval=20),
    variables=dict(type='VariablesHook'),
    work_dir=dict(type='WorkDirHook'),
    learning=dict(type='LearningHook'),
    orphans=dict(type='OrphansHook'),
    joints=dict(type='JointsHook'),
    float_head=dict(type='FloatHeadHook'),
    sync_buffers=dict(type='SyncBuffersHook'),
    checkpoint_fit=dict(type='CheckpointFitHook'),
    finite_loss=dict(type='FiniteLossHook'),
    keep_heap=dict(type='KeepHeapHook'),
    reseed=dict(type='ReseedHook'),
    log_history=dict(type='LogHistoryHook'),
)

# To adapt a model that has learned in the light.
few_epochs = dict(max_epochs=10, val_interval=1)
fading = [dict(type='CosineAnnealingLR', T_max=10, convert_to_iter_based=True)]
