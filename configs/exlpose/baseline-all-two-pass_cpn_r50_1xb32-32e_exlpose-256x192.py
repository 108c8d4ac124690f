# The network of baseline-all, but each lighting trains it in a pass of its own; both share plain batch norms.
_base_ = ['baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py']

model = dict(
    **_base_.lighting_pairs,
    separate_passes=True,
    head=dict(_delete_=True, type='DualTeacherHead', head=_base_.model.head),
)
