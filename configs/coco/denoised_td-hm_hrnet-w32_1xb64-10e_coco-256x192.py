# HRNet-W32 of MMPose's model zoo as it is; a denoiser before it learns what each layer makes of a well-lit image.
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py',
    '../_base_/on_stock.py',
]
from exlpose_mm.datasets.recipes import in_the_dark

zoo = 'https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/'
load_from = zoo + 'td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth'
taps = ['denoiser', 'conv1', 'layer1', 'stage2', 'stage3', 'stage4']
teacher = dict(taps=taps, loss=dict(type='FeatureLoss', loss_weight=6.0))
head = dict(_base_.taught, head=_base_.model.head, well_lit_teacher=teacher)
model = dict(_base_.frozen, backbone=dict(type='DenoisedBackbone', backbone='HRNet'), head=head)
data_root, train_dataloader, val_dataloader, test_dataloader, val_evaluator, test_evaluator = in_the_dark(_base_)
default_hooks, train_cfg, param_scheduler = _base_.hooks, _base_.few_epochs, _base_.fading
optim_wrapper = dict(optimizer=dict(lr=2e-3))
