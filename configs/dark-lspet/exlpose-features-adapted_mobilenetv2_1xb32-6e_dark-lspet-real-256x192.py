# The model in the box, tested on six people of two real frames of ExLPose; there is nothing to train.
_base_ = ['baseline-all-adapted_mobilenetv2_1xb32-6e_dark-lspet-256x192.py', '../_base_/datasets/real_frames.py']

head = dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head)
model = dict(**_base_.lighting_specific, head=head)
test_dataloader, test_evaluator = _base_.real_frames, _base_.real_evaluator
