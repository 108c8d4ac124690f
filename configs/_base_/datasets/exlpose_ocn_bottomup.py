# ExLPose-OCN as whole images: as exlpose_ocn.py for models that are given no boxes.
_base_ = []
from exlpose_mm.engine.variables import variable

ocn_root = variable('data_root', 'data/ExLPose')

ocn_files = {'A7M3': 'ExLPose-OC_test_A7M3.json', 'RICOH3': 'ExLPose-OC_test_RICOH3.json'}
ocn_set = dict(type='ExLPoseOCNDataset', data_root=ocn_root, data_mode='bottomup', test_mode=True)

ocn_dataloader = dict(
    dataset=dict(datasets=[dict(ann_file=ocn_files['A7M3'], **ocn_set), dict(ann_file=ocn_files['RICOH3'], **ocn_set)])
)
ocn_evaluator = dict(data_root=ocn_root, ann_files=dict(_delete_=True, **ocn_files))
