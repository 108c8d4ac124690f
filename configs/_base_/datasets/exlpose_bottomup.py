# ExLPose as whole images with all of their people, for bottom-up and single-stage models, tested on several scales.
_base_ = ['exlpose_pairs.py']

data_mode = 'bottomup'
input_size = (512, 512)

# Steps of the pipelines. The whole frame is scaled to its mean before it is turned and cut.
normalise = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')])
affine = dict(type='PairedRandomAffine', input_size=input_size)
flip = dict(type='RandomFlip', direction='horizontal')
mask = dict(type='BottomupGetHeatmapMask')  # crowds, and people without a labelled joint, are no background
resize = dict(type='BottomupResize', input_size=input_size, aug_scales=[0.5, 2.0], resize_mode='expand')

# What momentum teacher and student see.
add_momentum_view = dict(type='AddMomentumView')
darken_people = dict(type='OnStudent', transforms=[dict(type='DarkenPeople')])

dekr_codec = dict(
    type='SPR',
    input_size=input_size,
    heatmap_size=(128, 128),
    sigma=(4, 2),
    minimal_diagonal_length=32**0.5,
    generate_keypoint_heatmaps=True,
)
dekr_target = dict(type='GenerateTarget', encoder=dekr_codec)
augment = [normalise, affine, flip]

train_pipeline = [_base_.load_pair, *augment, dekr_target, mask, _base_.pack]
test_pipeline = [_base_.load, _base_.tag, normalise, resize, _base_.pack]

train_dataloader = dict(batch_size=10, dataset=dict(data_mode=data_mode, pipeline=train_pipeline))

test_set = dict(data_mode=data_mode, **_base_.test_set)
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        datasets=[
            dict(lighting='low_light', ann_file=_base_.ann_files['LL-N'], **test_set),
            dict(lighting='low_light', ann_file=_base_.ann_files['LL-H'], **test_set),
            dict(lighting='low_light', ann_file=_base_.ann_files['LL-E'], **test_set),
            dict(lighting='well_lit', ann_file=_base_.ann_files['WL'], **test_set),
        ],
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(nms_mode='oks_nms')
test_evaluator = val_evaluator
