# exlpose_boxes.py at a small size, for the generated data set of tools/make_demo_data.py:
# --cfg-options data_root=data/demo
_base_ = ['exlpose_boxes.py']

small = dict(type='Resize', scale=(160, 120), keep_ratio=True)
jitter = dict(type='RandomResize', scale=(160, 120), ratio_range=(0.8, 1.25), keep_ratio=True)
move = dict(type='OnViews', transforms=[jitter, _base_.flip])

train_pipeline = [_base_.load_pair, _base_.boxes, _base_.normalise, move, _base_.pack]
test_pipeline = [_base_.load, _base_.tag, _base_.normalise, small, _base_.pack]

train_dataloader = dict(num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
