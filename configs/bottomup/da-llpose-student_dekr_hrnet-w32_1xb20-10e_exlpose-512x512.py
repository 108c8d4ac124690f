# DA-LLPose's student: labels in made darkness, and in the real one what two teachers know, in equal numbers.
_base_ = ['../_base_/runtime.py', '../_base_/datasets/da_llpose.py', '../_base_/models/bottomup_hrnet-w32.py']

main_checkpoint = 'work_dirs/da-llpose-main/epoch_100.pth'
# For tools/acquire_knowledge.py, which writes the pseudo labels.
knowledge = dict(
    dataset=dict(unlabelled=True, test_mode=True, **_base_.low_light),
    main=dict(
        config='configs/bottomup/da-llpose-main_dekr_hrnet-w32_1xb20-100e_exlpose-512x512.py',
        checkpoint=main_checkpoint,
        min_centre=0.9,
        max_people=15,
    ),
    complementary=dict(
        config='configs/bottomup/da-llpose-complementary_ae_hrnet-w32_1xb20-100e_exlpose-512x512.py',
        checkpoint='work_dirs/da-llpose-complementary/epoch_100.pth',
        min_score=0.5,
        min_joints=10,
    ),
    nms=dict(dist_thr=0.05),
    out=_base_.pseudo_file,
)

load_from = main_checkpoint
max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
default_hooks = dict(checkpoint=_base_.best)
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-4))

model = dict(**_base_.dekr)
model['data_preprocessor'] = dict(_delete_=True, **_base_.unscaled)
model['head'] = dict(_base_.dekr.head, decoder=_base_.dekr_codec)

batch_size = 20
train_dataloader = dict(
    batch_size=batch_size,
    sampler=dict(_delete_=True, type='mmdet.MultiSourceSampler', batch_size=batch_size, source_ratio=[1, 1]),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(pipeline=_base_.fake_pipeline, **_base_.well_lit),
            dict(pipeline=_base_.real_pipeline, **{**_base_.low_light, 'ann_file': _base_.pseudo_file}),
        ],
    ),
)
