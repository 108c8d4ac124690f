# The paper's baseline-well: trained on well-lit images only.
_base_ = ['baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py']

model = dict(data_preprocessor=dict(merge=('well_lit',)))
