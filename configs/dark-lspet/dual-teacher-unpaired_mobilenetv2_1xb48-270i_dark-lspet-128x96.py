# Half the people labelled, their darkness ELLA's; two teachers for dark images of others without labels.
_base_ = ['dual-teacher_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

# What exlpose-ella-half learned from the labels alone.
load_from = 'work_dirs/dark-exlpose-ella-half/epoch_12.pth'
pretrained = None

model = dict(
    backbone=dict(init_cfg=None),
    head=dict(
        momentum_teacher=dict(burn_in=0, loss=dict(loss_weight=2.0, min_confidence=(0.0, 0.2), unlabelled_only=True))
    ),
)

max_iters = 270
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [_base_.param_scheduler[0], dict(type='CosineAnnealingLR', T_max=max_iters, by_epoch=False)]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=90))
log_processor = dict(by_epoch=False)

inputs = ['low_light', 'well_lit', 'momentum_view']
momentum_view = _base_.train_pipeline[1]
thin_student = _base_.train_pipeline[2]
labelled_pipeline = [
    dict(type='LoadLabelledImage'),
    dict(type='ELLA'),
    momentum_view,
    *_base_.after_loading[:-1],
    dict(type='PackPairedInputs', inputs=inputs),
]
cut_outs = dict(
    type='mmdet.CutOut', n_holes=(1, 3), cutout_ratio=[(0.1, 0.1), (0.2, 0.2), (0.3, 0.2)], fill_in=(102, 102, 102)
)
unlabelled_pipeline = [
    dict(type='LoadLabelledImage'),
    momentum_view,
    thin_student,
    *_base_.after_loading[:-2],
    dict(type='OnStudent', transforms=[cut_outs]),
    dict(type='PackPairedInputs', inputs=inputs, labelled=[]),
]

# The first and the last half of the people; their boxes are given.
people = dict(type='ExLPoseDataset', data_root=_base_.data_root, ann_file='ExLPose_train_LL.json', serialize_data=False)
batch_size = 48
train_dataloader = dict(
    batch_size=batch_size,
    sampler=dict(_delete_=True, type='mmdet.MultiSourceSampler', batch_size=batch_size, source_ratio=[2, 1]),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(lighting='well_lit', indices=1444, pipeline=labelled_pipeline, **people),
            dict(lighting='low_light', unlabelled=True, indices=-1444, pipeline=unlabelled_pipeline, **people),
        ],
    ),
)
