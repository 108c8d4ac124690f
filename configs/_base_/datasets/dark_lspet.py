# LSPET's people in pairs that tools/make_pairs.py writes with `--level exlpose --person-height 349`:
# the dark image is a calibrated camera's.
_base_ = []
from exlpose_mm.engine.variables import variable

# MMPoseInferencer asks for these; by MMPose's own data set it knows that these are bodies.
data_mode = 'topdown'
dataset_type = 'CrowdPoseDataset'
data_root = variable('data_root', 'data/dark-lspet')

codec = dict(
    type='SoftmaxHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5, unbiased=True, blur_kernel_size=7
)
input_size = codec['input_size']

# Steps of the pipelines. The person's box is drawn before `normalise`, so that only its region is scaled.
load_pair = dict(type='LoadPairedImages')
load = dict(type='LoadLabelledImage')  # or takes an image that is loaded, so that MMPoseInferencer can use the pipeline
tag = dict(type='TagLighting')
box = dict(type='GetBBoxCenterScale')
flip = dict(type='RandomFlip', direction='horizontal')
jitter = dict(type='RandomBBoxTransform', shift_prob=0.0, scale_factor=(0.85, 1.15), rotate_factor=20)
crop = dict(type='TopdownAffine', input_size=input_size)
normalise = dict(
    type='OnLighting',
    lighting='low_light',
    transforms=[dict(type='ScaleToMean', crop=crop), dict(type='AntiAlias', input_size=input_size)],
)
target = dict(type='GenerateTarget', encoder=codec)
pack = dict(type='PackPairedInputs')

# What momentum teacher and student see.
add_momentum_view = dict(type='AddMomentumView')
thin_student = dict(type='OnStudent', transforms=[dict(type='ThinPhotons', keep=(0.3, 1.0), prob=0.5)])

augment = [box, flip, jitter, normalise, crop]
train_pipeline = [load_pair, *augment, target, pack]
test_pipeline = [load, tag, box, normalise, crop, pack]

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='SeededBatchSampler', drop_last=True),
    collate_fn=dict(type='stack_views'),
    pin_memory=True,
    dataset=dict(type='ExLPoseDataset', data_root=data_root, ann_file='ExLPose_train_LL.json', pipeline=train_pipeline),
)

# Batches of labelled people and, half as many, others: for `dataset`, one `people` for each kind.
people = dict(type='ExLPoseDataset', data_root=data_root, ann_file='ExLPose_train_LL.json', serialize_data=False)
two_kinds = dict(
    batch_size=48, sampler=dict(_delete_=True, type='mmdet.MultiSourceSampler', batch_size=48, source_ratio=[2, 1])
)

# The same people once per level and once well lit.
ann_file = 'ExLPose_test_WL.json'
test_set = dict(type='ExLPoseDataset', data_root=data_root, lighting='well_lit', ann_file=ann_file, test_mode=True)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/crowdpose.py'),
        datasets=[
            dict(pipeline=[load, dict(type='SimulateLowLight', level='exlpose-normal', paired=False)], **test_set),
            dict(pipeline=[load, dict(type='SimulateLowLight', level='exlpose-hard', paired=False)], **test_set),
            dict(pipeline=[load, dict(type='SimulateLowLight', level='exlpose-extreme', paired=False)], **test_set),
            test_set,
        ],
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='LightingCocoMetric',
    data_root=data_root,
    ann_files={'LL-N': ann_file, 'LL-H': ann_file, 'LL-E': ann_file, 'WL': ann_file},
)
test_evaluator = val_evaluator
best = dict(save_best='LL-A/AP', rule='greater')
