# Ablation: ExLPose's training (LUPI) with ordinary batch norms in place of LSBN.
_base_ = ['exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py']

model = dict(backbone=dict(norm_cfg=dict(type='BN')))
