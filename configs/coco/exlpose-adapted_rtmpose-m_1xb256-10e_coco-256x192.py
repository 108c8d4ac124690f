# RTMPose-m of MMPose's model zoo, which has learned in the light, adapted to the dark in a few epochs.
_base_ = ['mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-m_8xb256-420e_coco-256x192.py', '../_base_/on_stock.py']
from exlpose_mm.datasets.recipes import in_the_dark

zoo = 'https://download.openmmlab.com/mmpose/v1/projects/rtmposev1/'
load_from = zoo + 'rtmpose-m_simcc-coco_pt-aic-coco_420e-256x192-d8dd5ca4_20230127.pth'
model = dict(_base_.lighting_specific, head=dict(_base_.taught, head=_base_.model.head))
data_root, train_dataloader, val_dataloader, test_dataloader, val_evaluator, test_evaluator = in_the_dark(_base_)
default_hooks, train_cfg, param_scheduler = _base_.hooks, _base_.few_epochs, _base_.fading
optim_wrapper = dict(constructor='GroupedOptimWrapperConstructor', optimizer=dict(lr=1e-4))
custom_hooks = []  # MMPose's would bring its own pipeline back near the end of 420 epochs
