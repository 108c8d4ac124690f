# ExLPose's layout and data set class at a small size, for the generated data set of
# tools/make_demo_data.py: --cfg-options data_root=data/demo
_base_ = ['exlpose_pairs.py']

small_codec = dict(
    type='SoftmaxHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5, unbiased=True, blur_kernel_size=7
)

normalise = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')])
flip = dict(type='RandomFlip', direction='horizontal')
small_crop = dict(type='CPNCrop', input_size=small_codec['input_size'])
train_small_crop = dict(scale_range=(0.8, 1.25), **small_crop)
small_target = dict(type='GenerateTarget', encoder=small_codec)

train_pipeline = [_base_.load_pair, normalise, flip, train_small_crop, small_target, _base_.pack]
test_pipeline = [_base_.load, _base_.tag, normalise, small_crop, _base_.pack]

train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
