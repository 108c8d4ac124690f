# The model with a denoiser, adapted with LSBN; the well-lit image teaches features.
_base_ = ['exlpose-features-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py']

load_from = 'work_dirs/denoised/epoch_3.pth'  # of denoised-unlabelled-adapted_*
model = dict(backbone=_base_.denoised)
