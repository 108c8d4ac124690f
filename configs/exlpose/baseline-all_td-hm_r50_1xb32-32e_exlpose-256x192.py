# ResNet-50 with MMPose's heatmap head ("SimpleBaseline"), trained on both lightings at once.
_base_ = [
    '../_base_/runtime.py',
    '../_base_/datasets/exlpose_pairs.py',
    '../_base_/models/td-hm_r50.py',
    '../_base_/models/lighting.py',
    '../_base_/schedules/halving.py',
]

codec, train_pipeline = _base_.msra_codec, _base_.msra_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

train_cfg = dict(max_epochs=32, val_interval=4)
default_hooks = dict(checkpoint=_base_.best)

model = dict(head=dict(decoder=codec))
