# Faster R-CNN, trained on both lightings as one set of images.
_base_ = [
    '../_base_/runtime_detection.py',
    '../_base_/datasets/exlpose_boxes.py',
    '../_base_/models/faster-rcnn_r50.py',
    '../_base_/schedules/detection_sgd.py',
]

train_cfg = dict(max_epochs=12, val_interval=1)
train_dataloader = dict(batch_size=4)
default_hooks = dict(checkpoint=_base_.best)
