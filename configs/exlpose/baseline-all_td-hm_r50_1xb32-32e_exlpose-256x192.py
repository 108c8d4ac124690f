# ResNet-50 with MMPose's heatmap head ("SimpleBaseline"), trained on both lightings at once.
_base_ = ['baseline-all_cpn_r50_1xb32-32e_exlpose-256x192.py']

codec, train_pipeline = _base_.msra_codec, _base_.msra_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

model = dict(
    backbone=dict(out_indices=(3,)),
    head=dict(
        _delete_=True,
        type='HeatmapHead',
        in_channels=2048,
        out_channels=14,
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=codec,
    ),
    test_cfg=dict(shift_heatmap=True),
)
