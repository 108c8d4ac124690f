# Stock MMPose, trained on low-light images only.
_base_ = ['baseline-all_mobilenetv2_1xb32-8e_lspet-128x96.py']

model = dict(data_preprocessor=dict(merge=('low_light',)))
