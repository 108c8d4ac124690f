# CrowdPose's people in the darkness of a camera.
_base_ = ['../exlpose/exlpose_td-hm_r50_1xb32-32e_exlpose-256x192.py']
from mmengine.hub import get_config

from exlpose_mm.datasets.recipes import in_the_dark

stock = get_config('mmpose::body_2d_keypoint/topdown_heatmap/crowdpose/td-hm_res50_8xb64-210e_crowdpose-256x192.py')
data_root, train_dataloader, val_dataloader, test_dataloader, val_evaluator, test_evaluator = in_the_dark(stock)
del stock
