# The model in the box, tested on six people of two real frames of ExLPose.
_base_ = ['exlpose-features-adapted_mobilenetv2_1xb32-6e_dark-lspet-256x192.py', '../_base_/datasets/real_frames.py']

test_dataloader, test_evaluator = _base_.real_frames, _base_.real_evaluator
