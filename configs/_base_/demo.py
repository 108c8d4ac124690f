# ExLPose's layout and data set class at a small size, for the generated data set of
# tools/make_demo_data.py: --cfg-options data_root=data/demo
_base_ = ['exlpose.py']

small_codec = dict(
    type='SoftmaxHeatmap', input_size=(96, 128), heatmap_size=(24, 32), sigma=1.5, unbiased=True, blur_kernel_size=7
)

train_pipeline = [
    dict(type='LoadPairedImages'),
    dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')]),
    dict(type='RandomFlip', direction='horizontal'),
    dict(type='CPNCrop', input_size=small_codec['input_size'], scale_range=(0.8, 1.25)),
    dict(type='GenerateTarget', encoder=small_codec),
    dict(type='PackPairedInputs'),
]
test_pipeline = [
    dict(type='LoadLabelledImage'),
    dict(type='TagLighting'),
    dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')]),
    dict(type='CPNCrop', input_size=small_codec['input_size']),
    dict(type='PackPairedInputs'),
]

train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
