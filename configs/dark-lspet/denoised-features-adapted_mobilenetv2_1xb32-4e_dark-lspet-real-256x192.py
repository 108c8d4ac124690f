# The model in the box, tested on six people of two real frames of ExLPose; there is nothing to train.
_base_ = ['baseline-all-adapted_mobilenetv2_1xb32-6e_dark-lspet-256x192.py', '../_base_/datasets/real_frames.py']

backbone = dict(**_base_.lighting_specific.backbone, **_base_.denoised)
head = dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head)
model = dict(backbone=backbone, head=head, **_base_.lighting_pairs)
test_dataloader, test_evaluator = _base_.real_frames, _base_.real_evaluator
