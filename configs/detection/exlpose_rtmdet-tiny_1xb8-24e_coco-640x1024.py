# ExLPose's method in RTMDet-tiny, on COCO's people in a camera's darkness that is drawn anew in each epoch.
_base_ = [
    'baseline-all_rtmdet-tiny_1xb8-24e_exlpose-640x1024.py',
    '../_base_/models/lighting_detection.py',
    '../_base_/datasets/coco_boxes_darkened.py',
]

model = dict(_base_.lighting_detection, detector='RTMDet', backbone=_base_.lsbn)

data_root = _base_.coco_root

train_dataloader = _base_.dark_train_dataloader
val_dataloader = _base_.dark_val_dataloader
test_dataloader = val_dataloader
val_evaluator = _base_.dark_val_evaluator
test_evaluator = val_evaluator
