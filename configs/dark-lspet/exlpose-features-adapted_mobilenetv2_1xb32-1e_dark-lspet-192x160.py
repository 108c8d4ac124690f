# The stock model that learned in the light, adapted with LSBN; the well-lit image teaches features, not their style.
_base_ = ['exlpose-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py']

model = dict(head=dict(well_lit_teacher=dict(_delete_=True, **_base_.feature_teacher)))
