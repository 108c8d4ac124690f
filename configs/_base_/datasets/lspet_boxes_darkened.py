# Boxes of LSPET's people in simulated darkness, see coco_boxes_darkened.py. An image has one labelled person, so four
# are laid side by side for training, and the darkness comes last.
_base_ = ['coco_boxes_darkened.py']

mosaic = [
    dict(type='Mosaic', img_scale=(256, 256), pad_val=114.0, prob=0.6),
    dict(type='RandomResize', scale=(512, 512), ratio_range=(0.4, 1.2), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(256, 256)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='YOLOXHSVRandomAug'),
    dict(type='Pad', size=(256, 256), pad_val=dict(img=(114, 114, 114))),
]
# Milder than ExLPose's camera: people are a quarter as tall as its, so that no pixels are left to average.
darken = dict(type='SimulateLowLight', level=(0.8, 40.0))
people = dict(
    ann_file='annotations/lspet14_train_all.json',
    data_prefix=dict(img='images/'),
    filter_cfg=dict(filter_empty_gt=True),
    pipeline=[_base_.coco_load, _base_.coco_boxes],
    **_base_.coco_people,
)
mosaic_train_dataloader = dict(
    batch_size=16,
    dataset=dict(
        _delete_=True,
        type='MultiImageMixDataset',
        dataset=people,
        pipeline=[*mosaic, darken, _base_.coco_normalise, _base_.coco_pack],
    ),
)

lspet_file = 'annotations/lspet14_val.json'
lspet_test = dict(ann_file=lspet_file, data_prefix=dict(img='images/'), test_mode=True, **_base_.coco_people)
# Where it shrinks a dark picture, all photons count.
fit = dict(type='Resize', scale=(320, 320), keep_ratio=True, interpolation='area')
rows_val_dataloader = dict(
    batch_size=8,
    dataset=dict(
        datasets=[
            dict(pipeline=[_base_.coco_load, _base_.coco_normal], **lspet_test),
            dict(pipeline=[_base_.coco_load, _base_.coco_hard], **lspet_test),
            dict(pipeline=[_base_.coco_load, _base_.coco_extreme], **lspet_test),
            dict(pipeline=[_base_.coco_load, _base_.coco_lit], **lspet_test),
        ],
        pipeline=[_base_.coco_load, dict(type='TagLighting'), _base_.coco_normalise, fit, _base_.coco_pack],
    ),
)
rows = dict.fromkeys(('LL-N', 'LL-H', 'LL-E', 'WL'), lspet_file)
rows_val_evaluator = dict(data_root=_base_.coco_root, ann_files=rows)
