# Adam with a warm-up, and two steps down after two thirds and six sevenths of 100 epochs.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=5e-4))
param_scheduler = [
    dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False),
    dict(type='MultiStepLR', milestones=[67, 86], gamma=0.1, by_epoch=True),
]
auto_scale_lr = dict(base_batch_size=10)
