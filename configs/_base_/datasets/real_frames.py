# Six people in two real frames of ExLPose, which lie beside the official code with their annotations.
_base_ = []
from exlpose_mm.engine.variables import variable

real_root = variable('data_root', 'data/exlpose-example')
real_people = dict(
    type='ExLPoseDataset',
    data_root=real_root,
    lighting='low_light',
    split='real',
    ann_file='test_exlpose.json',
    test_mode=True,
)
real_frames = dict(dataset=dict(datasets=[real_people]))
real_evaluator = dict(data_root=real_root, ann_files=dict(_delete_=True, real='test_exlpose.json'))
