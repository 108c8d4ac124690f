# ExLPose's method on RTMO-s: LSBN and the well-lit teacher (LUPI).
_base_ = ['baseline-all_rtmo-s_1xb16-20e_exlpose-640x640.py']

model = dict(**_base_.lighting_specific, head=dict(head=_base_.model.head, **_base_.taught))
