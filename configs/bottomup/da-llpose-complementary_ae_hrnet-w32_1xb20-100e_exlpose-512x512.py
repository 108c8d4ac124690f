# DA-LLPose's complementary teacher, associative embedding: trained on well-lit images that ELLA darkens.
_base_ = ['da-llpose-complementary-well_ae_hrnet-w32_1xb20-100e_exlpose-512x512.py']

load_from = 'work_dirs/da-llpose-complementary-well/epoch_100.pth'
train_dataloader = dict(dataset=dict(pipeline=_base_.complementary_pipeline))
