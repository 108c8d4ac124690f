# Stock MMPose, trained on well-lit images only.
_base_ = ['baseline-all_mobilenetv2_1xb32-8e_lspet-128x96.py']

model = dict(data_preprocessor=dict(merge=('well_lit',)))
