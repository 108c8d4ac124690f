# HRNet-W32 of MMPose's model zoo, which has learned in the light, adapted to the dark in a few epochs.
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py',
    '../_base_/on_stock.py',
]
from exlpose_mm.datasets.recipes import in_the_dark

zoo = 'https://download.openmmlab.com/mmpose/v1/body_2d_keypoint/topdown_heatmap/coco/'
load_from = zoo + 'td-hm_hrnet-w32_8xb64-210e_coco-256x192-81c58e40_20220909.pth'
model = dict(_base_.lighting_specific, head=dict(_base_.taught, head=_base_.model.head))
data_root, train_dataloader, val_dataloader, test_dataloader, val_evaluator, test_evaluator = in_the_dark(_base_)
default_hooks, train_cfg, param_scheduler = _base_.hooks, _base_.few_epochs, _base_.fading
optim_wrapper = dict(optimizer=dict(lr=5e-5))
