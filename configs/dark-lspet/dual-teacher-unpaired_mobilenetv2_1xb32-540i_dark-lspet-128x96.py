# Two teachers; half the people labelled, their darkness ELLA's; dark images of others without labels.
_base_ = ['dual-teacher_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

max_iters = 540
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', T_max=max_iters, by_epoch=False),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=90))
log_processor = dict(by_epoch=False)

inputs = ['low_light', 'well_lit', 'momentum_view']
two_views = _base_.train_pipeline[1:3]
augment = _base_.after_loading[:-2]
labelled_pipeline = [
    dict(type='LoadImage'),
    dict(type='ELLA'),
    *two_views,
    *augment,
    _base_.after_loading[-2],
    dict(type='PackPairedInputs', inputs=inputs),
]
cut_outs = dict(
    type='mmdet.CutOut',
    n_holes=(1, 3),
    cutout_ratio=[(0.1, 0.1), (0.2, 0.2), (0.3, 0.2)],
    fill_in=(102, 102, 102))
unlabelled_pipeline = [
    dict(type='LoadImage'),
    *two_views,
    *augment,
    dict(type='OnStudent', transforms=[cut_outs]),
    dict(type='PackPairedInputs', inputs=inputs, labelled=[]),
]

# The first and the last half of the people; their boxes are given.
people = dict(
    type='ExLPoseDataset',
    data_root=_base_.data_root,
    ann_file='ExLPose_train_LL.json',
    serialize_data=False)
train_dataloader = dict(
    sampler=dict(
        _delete_=True, type='mmdet.MultiSourceSampler', batch_size=32, source_ratio=[1, 1]),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(lighting='well_lit', indices=1444, pipeline=labelled_pipeline, **people),
            dict(
                lighting='low_light',
                unlabelled=True,
                indices=-1444,
                pipeline=unlabelled_pipeline,
                **people),
        ]))
