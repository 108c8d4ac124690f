# LSPET: people in real photographs, one an image, with the 14 CrowdPose joints, here with
# simulated darkness. Johnson & Everingham, "Learning Effective Human Pose Estimation from
# Inaccurate Annotation", CVPR 2011.
# MMPoseInferencer asks for these; by MMPose's own data set it knows that these are bodies.
data_mode = 'topdown'
dataset_type = 'CrowdPoseDataset'
data_root = __import__('os').environ.get('DATA_ROOT', 'data/lspet14')

codec = dict(
    type='SoftmaxHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5, unbiased=True, blur_kernel_size=7
)

# The dark frame's mean in DN; the test levels are 8 (normal), 2 (hard) and 0.6 (extreme).
train_darkness = (0.4, 12.0)

train_pipeline = [
    dict(type='LoadLabelledImage'),
    dict(type='SimulateLowLight', level=train_darkness),
    dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')]),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='RandomBBoxTransform', shift_prob=0.0, scale_factor=(0.85, 1.15), rotate_factor=20),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPairedInputs'),
]
# Starts from a loaded or an unloaded image, so that MMPoseInferencer can use it as it is.
test_pipeline = [
    dict(type='LoadLabelledImage'),
    dict(type='TagLighting'),
    dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')]),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPairedInputs'),
]

dataset = dict(type='CrowdPoseDataset', data_root=data_root, data_prefix=dict(img='images/'))
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='SeededBatchSampler', drop_last=True),
    collate_fn=dict(type='stack_views'),
    pin_memory=True,
    dataset=dict(ann_file='annotations/lspet14_train.json', pipeline=train_pipeline, **dataset),
)

# The same people once per darkness and once well lit.
test_set = dict(ann_file='annotations/lspet14_val.json', test_mode=True, **dataset)
darken = [
    [dict(type='LoadLabelledImage'), dict(type='SimulateLowLight', level='normal', paired=False)],
    [dict(type='LoadLabelledImage'), dict(type='SimulateLowLight', level='hard', paired=False)],
    [dict(type='LoadLabelledImage'), dict(type='SimulateLowLight', level='extreme', paired=False)],
    [dict(type='TagLighting', lighting='well_lit')],
]
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/crowdpose.py'),
        datasets=[
            dict(pipeline=darken[0], **test_set),
            dict(pipeline=darken[1], **test_set),
            dict(pipeline=darken[2], **test_set),
            dict(pipeline=darken[3], **test_set),
        ],
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

ann_file = data_root + '/annotations/lspet14_val.json'
val_evaluator = dict(
    type='LightingCocoMetric',
    data_root=data_root,
    ann_files={'LL-N': ann_file, 'LL-H': ann_file, 'LL-E': ann_file, 'WL': ann_file},
)
test_evaluator = val_evaluator
