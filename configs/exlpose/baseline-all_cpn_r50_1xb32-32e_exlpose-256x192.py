# The paper's baseline-all: stock MMPose and the CPN head, trained on both lightings at once.
_base_ = [
    '../_base_/runtime.py',
    '../_base_/datasets/exlpose_pairs.py',
    '../_base_/models/cpn_r50.py',
    '../_base_/models/lighting.py',
    '../_base_/schedules/halving.py',
]

train_cfg = dict(max_epochs=32, val_interval=4)
default_hooks = dict(checkpoint=_base_.best)

model = dict(head=dict(decoder=_base_.codec))
