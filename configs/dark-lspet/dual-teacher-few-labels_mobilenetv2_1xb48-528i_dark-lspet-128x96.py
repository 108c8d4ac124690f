# An eighth of the people labelled; two teachers for pairs of the others, of which nobody has labelled either image.
_base_ = ['exlpose_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

# Without labels the well-lit teacher, too, speaks only when it is sure.
taught = dict(loss_weight=2.0, min_confidence=(0.2, 0.2), unlabelled_only=True)
model = dict(head=dict(momentum_teacher=dict(_base_.momentum_teacher, loss=taught)))

max_iters = 528
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_iters, by_epoch=False)]
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=max_iters // 2), momentum_teacher=dict(type='MomentumTeacherHook')
)
log_processor = dict(by_epoch=False)

view = [_base_.load_pair, _base_.add_momentum_view, _base_.thin_student, *_base_.augment]
labelled_pipeline = [*view, _base_.target, _base_.pack]
unlabelled_pipeline = [*view, dict(labelled=[], **_base_.pack)]

# The first 361 people and the last 2,527; the boxes of these are given.
train_dataloader = dict(
    **_base_.two_kinds,
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(indices=361, pipeline=labelled_pipeline, **_base_.people),
            dict(indices=-2527, unlabelled=True, pipeline=unlabelled_pipeline, **_base_.people),
        ],
    ),
)
