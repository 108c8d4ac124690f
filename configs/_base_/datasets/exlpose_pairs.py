# ExLPose in any of the folder layouts that its releases unpack to. Lee et al., "Human Pose
# Estimation in Extremely Low-light Conditions", CVPR 2023.
_base_ = []  # says to mmengine that this is a config in text in spite of the import
from exlpose_mm.engine.variables import variable

# MMPoseInferencer asks for these; by MMPose's own data set it knows that these are bodies.
data_mode = 'topdown'
dataset_type = 'ExlposeDataset'
data_root = variable('data_root', 'data/ExLPose')

codec = dict(type='CPNHeatmap', input_size=(192, 256), heatmap_size=(48, 64))

# Steps of the pipelines.
load_pair = dict(type='LoadPairedImages')
load = dict(type='LoadLabelledImage')  # or takes an image that is loaded, so that MMPoseInferencer can use the pipeline
tag = dict(type='TagLighting')
test_crop = dict(type='CPNCrop', input_size=codec['input_size'])
train_crop = dict(scale_range=(0.7, 1.35), **test_crop)
normalise = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean', crop=test_crop)])
target = dict(type='GenerateTarget', encoder=codec)
pack = dict(type='PackPairedInputs')

train_pipeline = [load_pair, normalise, train_crop, target, pack]
test_pipeline = [load, tag, normalise, test_crop, pack]

# For MMPose's own heatmap heads, whose maps peak at 1.
msra_codec = dict(type='MSRAHeatmap', input_size=(192, 256), heatmap_size=(48, 64), sigma=2)
msra_pipeline = [load_pair, normalise, train_crop, dict(type='GenerateTarget', encoder=msra_codec), pack]

train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='SeededBatchSampler', drop_last=True),
    collate_fn=dict(type='stack_views'),
    pin_memory=True,
    dataset=dict(type='ExLPoseDataset', data_root=data_root, ann_file='ExLPose_train_LL.json', pipeline=train_pipeline),
)

test_set = dict(type='ExLPoseDataset', data_root=data_root, test_mode=True)
ann_files = {
    'LL-N': 'ExLPose_test_LL-N.json',
    'LL-H': 'ExLPose_test_LL-H.json',
    'LL-E': 'ExLPose_test_LL-E.json',
    'WL': 'ExLPose_test_WL.json',
}
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='CombinedDataset',
        metainfo=dict(from_file='configs/_base_/datasets/exlpose.py'),
        datasets=[
            dict(lighting='low_light', ann_file=ann_files['LL-N'], **test_set),
            dict(lighting='low_light', ann_file=ann_files['LL-H'], **test_set),
            dict(lighting='low_light', ann_file=ann_files['LL-E'], **test_set),
            dict(lighting='well_lit', ann_file=ann_files['WL'], **test_set),
        ],
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='LightingCocoMetric', data_root=data_root, ann_files=ann_files)
test_evaluator = val_evaluator
best = dict(save_best='LL-A/AP', rule='greater')
