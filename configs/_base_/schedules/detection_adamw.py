# MMDetection's for RTMDet, for 8 pairs a batch: AdamW without decay of norms and biases. A config adds how long it
# trains, and a cosine of that length.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2.5e-4, weight_decay=0.05),
    constructor='GroupedOptimWrapperConstructor',
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0, bypass_duplicate=True),
)
warm_up = dict(type='LinearLR', begin=0, end=500, start_factor=0.001, by_epoch=False)
auto_scale_lr = dict(base_batch_size=8)
