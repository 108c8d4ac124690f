# Drawn people, two or three an image, in the layout of ExLPose, as whole small images; of one scale:
#   python tools/make_demo_data.py --out data/demo-people --size 192 192 --people 2 3 --train 600 --test 150
_base_ = ['exlpose_bottomup.py']

small_size = (96, 96)
small_codec = dict(
    type='SPR',
    input_size=small_size,
    heatmap_size=(24, 24),
    sigma=(1.5, 1),
    minimal_diagonal_length=2,
    generate_keypoint_heatmaps=True,
)
codec = dict(small_codec)

small_affine = dict(
    type='PairedRandomAffine', input_size=small_size, shift_factor=0.1, scale_factor=(0.8, 1.25), rotate_factor=15
)
small_resize = dict(type='BottomupResize', input_size=small_size)
small_target = dict(type='GenerateTarget', encoder=small_codec)
small_augment = [_base_.normalise, small_affine, _base_.flip]

train_pipeline = [_base_.load_pair, *small_augment, small_target, _base_.mask, _base_.pack]
small_teacher_pipeline = [
    _base_.load_pair,
    _base_.add_momentum_view,
    _base_.darken_people,
    *small_augment,
    small_target,
    _base_.mask,
    _base_.pack,
]
test_pipeline = [_base_.load, _base_.tag, _base_.normalise, small_resize, _base_.pack]

train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, batch_size=8, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
