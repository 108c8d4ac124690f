# Stock MMPose, trained in the light alone: a checkpoint to adapt to the dark.
_base_ = ['baseline-well_mobilenetv2_1xb32-8e_lspet-128x96.py', '../_base_/fast.py']

max_epochs = 40
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    constructor='GroupedOptimWrapperConstructor',
    paramwise_cfg=dict(norm_decay_mult=0, bias_decay_mult=0),
    **_base_.bf16,
)
param_scheduler = [
    dict(_base_.warm_up, end=300),
    dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(save_best='WL/AP'), **_base_.channels_last)

codec = dict(input_size=(160, 192), heatmap_size=(40, 48), sigma=2.0, blur_kernel_size=9)
full_codec = dict(_base_.codec, **codec)
model = dict(
    data_preprocessor=dict(_delete_=True, **_base_.model.data_preprocessor.well_lit), head=dict(decoder=full_codec)
)

crop = dict(type='TopdownAffine', input_size=codec['input_size'])
half_body = dict(type='RandomHalfBody', min_total_keypoints=9, min_upper_keypoints=4, min_lower_keypoints=4, prob=0.2)
jitter = dict(type='RandomBBoxTransform', shift_prob=0.3, scale_factor=(0.65, 1.35), rotate_factor=80, rotate_prob=0.6)
target = dict(type='GenerateTarget', encoder=full_codec)
pack = dict(type='PackPoseInputs')
colour = dict(type='PhotometricDistortion')
train_pipeline = [_base_.load, _base_.box, _base_.flip, half_body, jitter, crop, colour, target, pack]
test_pipeline = [_base_.load, _base_.tag, _base_.box, crop, _base_.pack]

ann_files = ['annotations/lspet14_train.json', 'annotations/lspet14_train_more.json']
train_dataloader = dict(
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[dict(ann_file=ann_file, pipeline=train_pipeline, **_base_.dataset) for ann_file in ann_files],
    ),
)
val_dataloader = dict(dataset=dict(datasets=[_base_.well_lit_row], pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(ann_files=dict(_delete_=True, WL=_base_.ann_file))
test_evaluator = val_evaluator
