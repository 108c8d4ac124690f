# The adapted models with LSBN, tested on six people of two real frames of ExLPose.
_base_ = ['exlpose-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py', '../_base_/datasets/real_frames.py']

test_dataloader, test_evaluator = _base_.real_frames, _base_.real_evaluator
