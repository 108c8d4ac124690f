# ExLPose's method on DEKR: LSBN and the well-lit teacher (LUPI).
_base_ = ['baseline-all_dekr_hrnet-w32_1xb10-100e_exlpose-512x512.py']

model = dict(**_base_.lighting_specific, head=dict(head=_base_.model.head, **_base_.taught))
