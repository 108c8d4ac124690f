# ExLPose as whole images with all of their people, for bottom-up and single-stage models, tested on several scales.
_base_ = []
from exlpose_mm.engine.variables import variable

# MMPoseInferencer asks for these; by MMPose's own data set it knows that these are bodies.
data_mode = 'bottomup'
dataset_type = 'ExlposeDataset'
data_root = variable('data_root', 'data/ExLPose')

input_size = (512, 512)
dekr_codec = dict(
    type='SPR',
    input_size=input_size,
    heatmap_size=(128, 128),
    sigma=(4, 2),
    minimal_diagonal_length=32**0.5,
    generate_keypoint_heatmaps=True,
)
codec = dict(dekr_codec)  # of the model
# Grouping starts at neck and head and goes down.
ae_codec = dict(
    type='AEHeatmap',
    input_size=input_size,
    heatmap_size=(128, 128),
    sigma=2,
    decode_topk=30,
    decode_center_shift=0.5,
    decode_keypoint_order=[13, 12, 0, 1, 2, 3, 6, 7, 4, 5, 8, 9, 10, 11],
    decode_max_instances=20,
)

# Steps of the pipelines. The whole frame is scaled to its mean before it is turned and cut.
load_pair = dict(type='LoadPairedImages')
load = dict(type='LoadLabelledImage')  # or takes an image that is loaded, so that MMPoseInferencer can use the pipeline
tag = dict(type='TagLighting')
normalise = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')])
affine = dict(type='PairedRandomAffine', input_size=input_size)
flip = dict(type='RandomFlip', direction='horizontal')
dekr_target = dict(type='GenerateTarget', encoder=dekr_codec)
ae_target = dict(type='GenerateTarget', encoder=ae_codec)
mask = dict(type='MaskInvalidPeople')  # crowds, and people without a labelled joint, are no background
resize = dict(type='BottomupResize', input_size=input_size, aug_scales=[0.5, 2.0], resize_mode='expand')
pack = dict(type='PackPairedInputs')

# What momentum teacher and student see.
add_momentum_view = dict(type='AddMomentumView')
darken_people = dict(type='OnStudent', transforms=[dict(type='DarkenPeople')])

augment = [normalise, affine, flip]
dekr_pipeline = [load_pair, *augment, dekr_target, mask, pack]
dekr_teacher_pipeline = [load_pair, add_momentum_view, darken_people, *augment, dekr_target, mask, pack]
ae_pipeline = [load_pair, *augment, ae_target, mask, pack]
ae_teacher_pipeline = [load_pair, add_momentum_view, darken_people, *augment, ae_target, mask, pack]
test_pipeline = [load, tag, normalise, resize, pack]

train_dataloader = dict(
    batch_size=10,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='SeededBatchSampler', drop_last=True),
    collate_fn=dict(type='stack_views'),
    pin_memory=True,
    dataset=dict(
        type='ExLPoseDataset',
        data_root=data_root,
        data_mode=data_mode,
        ann_file='ExLPose_train_LL.json',
        pipeline=dekr_pipeline,
    ),
)

test_set = dict(type='ExLPoseDataset', data_root=data_root, data_mode=data_mode, test_mode=True)
ann_files = {
    'LL-N': 'ExLPose_test_LL-N.json',
    'LL-H': 'ExLPose_test_LL-H.json',
    'LL-E': 'ExLPose_test_LL-E.json',
    'WL': 'ExLPose_test_WL.json',
}
val_dataloader = dict(
    batch_size=1,
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

# COCO's tools look at the best 20 people of an image.
val_evaluator = dict(type='LightingCocoMetric', data_root=data_root, ann_files=ann_files, nms_mode='oks_nms')
test_evaluator = val_evaluator
best = dict(save_best='LL-A/AP', rule='greater')
