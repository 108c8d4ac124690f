# ExLPose's method in RTMDet-tiny: LSBN in the backbone, and the well-lit teacher.
_base_ = ['baseline-all_rtmdet-tiny_1xb8-24e_exlpose-640x1024.py', '../_base_/models/lighting_detection.py']

model = dict(_base_.lighting_detection, detector='RTMDet', backbone=_base_.lsbn)
