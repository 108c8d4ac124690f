# DA-LLPose's setting: no label of a dark image, no pairs, and dark images as they are. Ai et al., "Domain-Adaptive 2D
# Human Pose Estimation via Dual Teachers in Extremely Low-Light Conditions", ECCV 2024.
_base_ = ['exlpose_bottomup.py']

darken = dict(type='ELLA', paired=False)
darken_half = dict(type='ELLA', paired=False, prob=0.5)
darken_people = dict(type='DarkenPeople', factor=(0.1, 0.5), prob=0.5, scale=1.5)
geometry = [_base_.affine, _base_.flip]

# A teacher learns in the light, then in the darkness that is made of it.
main_well_pipeline = [_base_.load, *geometry, _base_.dekr_target, _base_.mask, _base_.pack]
main_pipeline = [_base_.load, darken_half, *geometry, _base_.dekr_target, _base_.mask, _base_.pack]
complementary_well_pipeline = [_base_.load, *geometry, _base_.ae_target, _base_.mask, _base_.pack]
complementary_pipeline = [_base_.load, darken_half, *geometry, _base_.ae_target, _base_.mask, _base_.pack]

# Where there is no pseudo label, nobody says that there is nobody: the maps' loss has no weight there.
pseudo_codec = dict(_base_.dekr_codec, background_weight=0.0)
pseudo_target = dict(type='GenerateTarget', encoder=pseudo_codec)
fake_pipeline = [_base_.load, darken, *geometry, _base_.dekr_target, _base_.mask, _base_.pack]
real_pipeline = [_base_.load, darken_people, *geometry, pseudo_target, _base_.mask, _base_.pack]
test_pipeline = [_base_.load, _base_.tag, _base_.resize, _base_.pack]

people = dict(type='ExLPoseDataset', data_root=_base_.data_root, data_mode=_base_.data_mode)
well_lit = dict(lighting='well_lit', ann_file='ExLPose_train_WL.json', **people)
low_light = dict(lighting='low_light', ann_file='ExLPose_train_LL.json', **people)
pseudo_file = _base_.data_root + '/ExLPose_train_pseudo.json'

train_dataloader = dict(batch_size=20, dataset=dict(pipeline=main_well_pipeline, **well_lit))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# One preprocessor for both lightings.
imagenet = dict(
    type='PoseDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
)
unscaled = dict(type='LightingDataPreprocessor', low_light=imagenet, well_lit=imagenet)
