# ExLPose's method in Faster R-CNN: LSBN in the backbone, and the well-lit teacher.
_base_ = ['baseline-all_faster-rcnn_r50_1xb4-12e_exlpose-800x1333.py', '../_base_/models/lighting_detection.py']

model = dict(_base_.lighting_detection, detector='FasterRCNN', backbone=_base_.lsbn)
