# The models of this folder with LSBN, tested on six people of two real frames of ExLPose.
_base_ = ['exlpose_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']
from exlpose_mm.engine.variables import variable

# The folder of the official code's example frames and of their annotations.
real_root = variable('data_root', 'data/exlpose-example')
test_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                type='ExLPoseDataset',
                data_root=real_root,
                lighting='low_light',
                split='real',
                ann_file='test_exlpose.json',
                test_mode=True,
            )
        ]
    )
)
test_evaluator = dict(data_root=real_root, ann_files=dict(_delete_=True, real='test_exlpose.json'))
