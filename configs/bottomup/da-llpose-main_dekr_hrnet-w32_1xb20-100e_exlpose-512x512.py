# DA-LLPose's main teacher, DEKR: trained on well-lit images that ELLA darkens.
_base_ = ['da-llpose-main-well_dekr_hrnet-w32_1xb20-100e_exlpose-512x512.py']

load_from = 'work_dirs/da-llpose-main-well/epoch_100.pth'
train_dataloader = dict(dataset=dict(pipeline=_base_.main_pipeline))
