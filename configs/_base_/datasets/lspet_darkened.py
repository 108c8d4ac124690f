# LSPET: people in real photographs, one an image, with the 14 CrowdPose joints, here with
# simulated darkness. Johnson & Everingham, "Learning Effective Human Pose Estimation from
# Inaccurate Annotation", CVPR 2011.
_base_ = []
from exlpose_mm.engine.variables import variable

# MMPoseInferencer asks for these; by MMPose's own data set it knows that these are bodies.
data_mode = 'topdown'
dataset_type = 'CrowdPoseDataset'
data_root = variable('data_root', 'data/lspet14')

codec = dict(
    type='SoftmaxHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5, unbiased=True, blur_kernel_size=7
)

# The dark frame's mean in DN; the test levels are 8 (normal), 2 (hard) and 0.6 (extreme).
train_darkness = (0.4, 12.0)

# Steps of the pipelines.
load = dict(type='LoadLabelledImage')  # or takes an image that is loaded, so that MMPoseInferencer can use the pipeline
darken = dict(type='SimulateLowLight', level=train_darkness)
tag = dict(type='TagLighting')
normalise = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')])
box = dict(type='GetBBoxCenterScale')
flip = dict(type='RandomFlip', direction='horizontal')
jitter = dict(type='RandomBBoxTransform', shift_prob=0.0, scale_factor=(0.85, 1.15), rotate_factor=20)
crop = dict(type='TopdownAffine', input_size=codec['input_size'])
target = dict(type='GenerateTarget', encoder=codec)
pack = dict(type='PackPairedInputs')

train_pipeline = [load, darken, normalise, box, flip, jitter, crop, target, pack]
test_pipeline = [load, tag, normalise, box, crop, pack]

dataset = dict(type=dataset_type, data_root=data_root, data_prefix=dict(img='images/'))
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
well_lit_row = dict(pipeline=[dict(type='TagLighting', lighting='well_lit')], **test_set)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/crowdpose.py'),
        datasets=[
            dict(pipeline=[load, dict(type='SimulateLowLight', level='normal', paired=False)], **test_set),
            dict(pipeline=[load, dict(type='SimulateLowLight', level='hard', paired=False)], **test_set),
            dict(pipeline=[load, dict(type='SimulateLowLight', level='extreme', paired=False)], **test_set),
            well_lit_row,
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
best = dict(save_best='LL-A/AP', rule='greater')
