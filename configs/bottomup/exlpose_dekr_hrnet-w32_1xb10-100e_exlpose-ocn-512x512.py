# ExLPose's method on DEKR, tested on ExLPose-OCN on three scales; there is nothing to train.
_base_ = ['exlpose_dekr_hrnet-w32_1xb10-100e_exlpose-512x512.py', '../_base_/datasets/exlpose_ocn_bottomup.py']

test_dataloader = _base_.ocn_dataloader
test_evaluator = _base_.ocn_evaluator
