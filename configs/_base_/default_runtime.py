_base_ = ['mmpose::_base_/default_runtime.py']

custom_imports = dict(imports=['exlpose_mm'], allow_failed_imports=False)

env_cfg = dict(cudnn_benchmark=True)

default_hooks = dict(
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=2, save_best='LL-A/AP', rule='greater'),
    logger=dict(interval=20),
)

custom_hooks = [
    dict(type='VariablesHook'),
    dict(type='WorkDirHook'),
    dict(type='LearningHook'),
    dict(type='OrphansHook'),
    dict(type='JointsHook'),
    dict(type='FloatHeadHook'),
    dict(type='SyncBuffersHook'),
    dict(type='CheckpointFitHook'),
    dict(type='FiniteLossHook'),
    dict(type='KeepHeapHook'),
    dict(type='ReseedHook'),
    dict(type='LogHistoryHook'),
]

visualizer = dict(type='LightingVisualizer')

# No prefix in the log: the evaluators' keys are rows and columns of the results table.
randomness = dict(seed=0)
