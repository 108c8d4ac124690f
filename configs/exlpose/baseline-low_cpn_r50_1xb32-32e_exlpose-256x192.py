# The paper's baseline-low: trained on low-light images only.
_base_ = ['baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py']

model = dict(data_preprocessor=dict(merge=('low_light',)))
