# Two teachers instead of labels on the dark images, whose well-lit partners have them.
_base_ = ['dual-teacher_mobilenetv2_1xb32-6e_dark-lspet-128x96.py']

train_pipeline = [*_base_.train_pipeline[:-1], dict(type='PackPairedInputs', labelled=['well_lit'])]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
