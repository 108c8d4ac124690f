# The method on a top-down config of stock MMPose: LSBN, the well-lit teacher, and darkness by a camera.
_base_ = [
    'mmpose::body_2d_keypoint/topdown_heatmap/crowdpose/td-hm_res50_8xb64-210e_crowdpose-256x192.py',
    '../_base_/on_stock.py',
]
from exlpose_mm.datasets.recipes import in_the_dark

model = dict(_base_.lighting_specific, head=dict(_base_.taught, head=_base_.model.head))
data_root, train_dataloader, val_dataloader, test_dataloader, val_evaluator, test_evaluator = in_the_dark(_base_)
default_hooks = _base_.hooks
