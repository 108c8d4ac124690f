# Two teachers instead of labels on the dark images, whose well-lit partners have them.
_base_ = ['dual-teacher_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

model = dict(head=dict(labelled=('well_lit', )))
