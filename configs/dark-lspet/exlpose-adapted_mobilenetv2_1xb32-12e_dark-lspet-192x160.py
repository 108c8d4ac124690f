# The stock model that learned in the light, adapted by ExLPose's method for longer.
_base_ = ['exlpose-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py']

max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = [_base_.warm_up, dict(type='CosineAnnealingLR', T_max=max_epochs, convert_to_iter_based=True)]
