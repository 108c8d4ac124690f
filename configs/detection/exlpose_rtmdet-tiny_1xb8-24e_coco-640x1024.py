# The same on COCO's people in the darkness of a camera, simulated anew in each epoch.
_base_ = ['exlpose_rtmdet-tiny_1xb8-24e_exlpose-640x1024.py', '../_base_/datasets/coco_boxes_darkened.py']

train_dataloader = _base_.dark_train_dataloader
val_dataloader = _base_.dark_val_dataloader
test_dataloader = val_dataloader
val_evaluator = _base_.dark_val_evaluator
test_evaluator = val_evaluator
