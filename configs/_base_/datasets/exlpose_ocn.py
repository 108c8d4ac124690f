# ExLPose-OCN: night photographs of two other cameras, for testing only. A config names this
# file beside a model trained on ExLPose, and hands the last two variables on.
_base_ = []
from exlpose_mm.engine.variables import variable

ocn_root = variable('data_root', 'data/ExLPose')

ocn_files = {'A7M3': 'ExLPose-OC_test_A7M3.json', 'RICOH3': 'ExLPose-OC_test_RICOH3.json'}
ocn_set = dict(type='ExLPoseOCNDataset', data_root=ocn_root, test_mode=True)

ocn_dataloader = dict(
    dataset=dict(datasets=[dict(ann_file=ocn_files['A7M3'], **ocn_set), dict(ann_file=ocn_files['RICOH3'], **ocn_set)])
)
ocn_evaluator = dict(data_root=ocn_root, ann_files=dict(_delete_=True, **ocn_files))
