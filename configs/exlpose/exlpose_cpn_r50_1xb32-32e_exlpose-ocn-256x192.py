# The paper's model, tested on ExLPose-OCN; there is nothing to train.
_base_ = ['exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py', '../_base_/datasets/exlpose_ocn.py']

test_dataloader = _base_.ocn_dataloader
test_evaluator = _base_.ocn_evaluator
