# Ablation: LSBN alone, without the well-lit teacher (LUPI).
_base_ = ['exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py']

model = dict(head=dict(well_lit_teacher=None))
