# Half the people labelled, their darkness ELLA's; two teachers for dark images of others without labels.
_base_ = ['exlpose_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

# What exlpose-ella-half learned from the labels alone.
load_from = 'work_dirs/dark-exlpose-ella-half/epoch_12.pth'
pretrained = None

momentum_teacher = dict(burn_in=0, loss=dict(loss_weight=2.0, min_confidence=(0.0, 0.2), unlabelled_only=True))
model = dict(
    backbone=dict(init_cfg=None), head=dict(momentum_teacher=dict(_base_.momentum_teacher, **momentum_teacher))
)

max_iters = 270
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_iters, by_epoch=False)]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=90), momentum_teacher=dict(type='MomentumTeacherHook'))
log_processor = dict(by_epoch=False)

pack = dict(inputs=['low_light', 'well_lit', 'momentum_view'], **_base_.pack)
labelled_pipeline = [_base_.load, dict(type='ELLA'), _base_.add_momentum_view, *_base_.augment, _base_.target, pack]
cut_outs = dict(
    type='mmdet.CutOut', n_holes=(1, 3), cutout_ratio=[(0.1, 0.1), (0.2, 0.2), (0.3, 0.2)], fill_in=(102, 102, 102)
)
unlabelled_pipeline = [
    _base_.load,
    _base_.add_momentum_view,
    _base_.thin_student,
    *_base_.augment,
    dict(type='OnStudent', transforms=[cut_outs]),
    dict(labelled=[], **pack),
]

# The first and the last half of the people; their boxes are given.
train_dataloader = dict(
    **_base_.two_kinds,
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(lighting='well_lit', indices=1444, pipeline=labelled_pipeline, **_base_.people),
            dict(lighting='low_light', unlabelled=True, indices=-1444, pipeline=unlabelled_pipeline, **_base_.people),
        ],
    ),
)
