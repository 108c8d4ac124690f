_base_ = ['mmpose::_base_/default_runtime.py']

custom_imports = dict(imports=['exlpose_mm'], allow_failed_imports=False)

env_cfg = dict(cudnn_benchmark=True)

# Named, so that a config may change one and has `custom_hooks` to itself. It leaves one out by
# `_base_.default_hooks.pop(NAME)`.
default_hooks = dict(
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2),
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
custom_hooks = []  # MMPose's one is `sync_buffers`

visualizer = dict(type='LightingVisualizer')

# No prefix in the log: the evaluators' keys are rows and columns of the results table.
randomness = dict(seed=0)
