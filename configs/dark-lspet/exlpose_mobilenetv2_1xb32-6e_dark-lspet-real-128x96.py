# The models of this folder with LSBN, tested on six people of two real frames of ExLPose.
_base_ = ['exlpose_mobilenetv2_1xb32-6e_dark-lspet-128x96.py', '../_base_/datasets/real_frames.py']

test_dataloader, test_evaluator = _base_.real_frames, _base_.real_evaluator
