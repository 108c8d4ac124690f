# Stock MMPose, trained on both lightings at once, the dark one by a calibrated camera.
_base_ = ['../lspet/baseline-all_mobilenetv2_1xb32-8e_lspet-128x96.py']

max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True),
]

# What tools/make_pairs.py writes with `--level exlpose --person-height 349`.
data_root = __import__('os').environ.get('DATA_ROOT', 'data/dark-lspet')

# The person's box is drawn first, so that only its region is scaled.
input_size = _base_.codec.input_size
low_light = dict(
    type='OnLighting',
    lighting='low_light',
    transforms=[
        dict(type='ScaleToMean', crop=dict(type='TopdownAffine', input_size=input_size)),
        dict(type='AntiAlias', input_size=input_size),
    ],
)
after_loading = [*_base_.train_pipeline[3:6], low_light, *_base_.train_pipeline[6:]]
train_pipeline = [dict(type='LoadPairedImages'), *after_loading]
test_pipeline = [*_base_.test_pipeline[:2], _base_.test_pipeline[3], low_light, *_base_.test_pipeline[4:]]

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ExLPoseDataset',
        data_root=data_root,
        ann_file='ExLPose_train_LL.json',
        pipeline=train_pipeline,
    )
)

# The same people once per level and once well lit.
ann_file = 'ExLPose_test_WL.json'
test_set = dict(type='ExLPoseDataset', data_root=data_root, lighting='well_lit', ann_file=ann_file, test_mode=True)
darken = [
    [dict(type='LoadLabelledImage'), dict(type='SimulateLowLight', level='exlpose-normal', paired=False)],
    [dict(type='LoadLabelledImage'), dict(type='SimulateLowLight', level='exlpose-hard', paired=False)],
    [dict(type='LoadLabelledImage'), dict(type='SimulateLowLight', level='exlpose-extreme', paired=False)],
]
val_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(pipeline=darken[0], **test_set),
            dict(pipeline=darken[1], **test_set),
            dict(pipeline=darken[2], **test_set),
            test_set,
        ],
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

val_evaluator = dict(
    _delete_=True,
    type='LightingCocoMetric',
    data_root=data_root,
    ann_files={'LL-N': ann_file, 'LL-H': ann_file, 'LL-E': ann_file, 'WL': ann_file},
)
test_evaluator = val_evaluator
