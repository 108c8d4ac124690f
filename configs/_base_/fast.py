# What makes training faster, on a GPU most, for a config that names this file beside another; docs/speed.md has more:
#   _base_ = ['exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py', '../_base_/fast.py']
#   optim_wrapper = dict(**_base_.bf16, **_base_.fused)
#   default_hooks = _base_.channels_last
#   train_dataloader = _base_.all_cores
_base_ = []
import os

bf16 = dict(type='BFloat16OptimWrapper')
fused = dict(optimizer=dict(fused=True))
channels_last = dict(channels_last=dict(type='ChannelsLastHook'))
# Both lightings of a model with LSBN pass the backbone together: `model = _base_.one_pass`.
one_pass = dict(separate_passes=False)
# Samples are the same with any number of workers.
all_cores = dict(num_workers=min(16, os.cpu_count() or 1))

# For the CPN head: joints travel to the device, where the maps (860 kB a person) are drawn. The pipeline's step is
#   dict(type='GenerateTarget', encoder=dict(**_base_.codec, **_base_.joints_only))
joints_only = dict(draw=False)
