# The paper's: Adam, halved every 6 epochs, weight decay on weights only, 32 pairs a batch.
optim_wrapper = dict(
    optimizer=dict(type='Adam', lr=5e-4, weight_decay=1e-5),
    constructor='GroupedOptimWrapperConstructor',
    paramwise_cfg=dict(custom_keys=dict(bias=dict(decay_mult=0.0))),
)
param_scheduler = [dict(type='StepLR', step_size=6, gamma=0.5, by_epoch=True)]
auto_scale_lr = dict(base_batch_size=32)
