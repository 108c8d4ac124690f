# The same, but each lighting trains the network in a pass of its own; both share plain batch norms.
_base_ = ['baseline-all-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py']

model = dict(
    **_base_.lighting_pairs,
    separate_passes=True,
    head=dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head),
)
