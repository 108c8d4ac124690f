# The boxes of ExLPose's people in whole images, for detectors; see exlpose_pairs.py.
_base_ = []  # says to mmengine that this is a config in text in spite of the import
from exlpose_mm.engine.variables import variable

data_root = variable('data_root', 'data/ExLPose')
image_size = (1333, 800)

# Steps of the pipelines. What moves pixels stands in `OnViews`, which moves both images of a pair alike.
load_pair = dict(type='LoadPairedImages')
load = dict(type='LoadLabelledImage')  # or takes an image that is loaded
tag = dict(type='TagLighting')
boxes = dict(type='LoadAnnotations', with_bbox=True)
normalise = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')])
resize = dict(type='Resize', scale=image_size, keep_ratio=True)
flip = dict(type='RandomFlip', prob=0.5)
move = dict(type='OnViews', transforms=[resize, flip])
pack = dict(type='PackPairedDetInputs')

train_pipeline = [load_pair, boxes, normalise, move, pack]
test_pipeline = [load, tag, normalise, resize, pack]

# For detectors of one stage, which want many sizes of people.
small = dict(type='Resize', scale=(1024, 640), keep_ratio=True)
jitter = dict(type='RandomResize', scale=(1024, 640), ratio_range=(0.5, 2.0), keep_ratio=True)
cut = dict(type='RandomCrop', crop_size=(1024, 640))
cropped_pipeline = [load_pair, boxes, normalise, dict(type='OnViews', transforms=[jitter, cut, flip]), pack]
small_pipeline = [load, tag, normalise, small, pack]

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='SeededBatchSampler', drop_last=True),
    collate_fn=dict(type='stack_views'),
    pin_memory=True,
    dataset=dict(
        type='ExLPosePeopleDataset', data_root=data_root, ann_file='ExLPose_train_LL.json', pipeline=train_pipeline
    ),
)

test_set = dict(type='ExLPosePeopleDataset', data_root=data_root, test_mode=True)
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
        type='RowsDataset',
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

val_evaluator = dict(type='LightingBoxMetric', data_root=data_root, ann_files=ann_files)
test_evaluator = val_evaluator
best = dict(save_best='LL-A/AP', rule='greater')
