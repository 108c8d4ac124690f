# DA-LLPose's student, tested on ExLPose-OCN on three scales; there is nothing to train.
_base_ = ['da-llpose-student_dekr_hrnet-w32_1xb20-10e_exlpose-512x512.py', '../_base_/datasets/exlpose_ocn_bottomup.py']

test_dataloader = _base_.ocn_dataloader
test_evaluator = _base_.ocn_evaluator
