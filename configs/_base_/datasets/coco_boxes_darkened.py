# The boxes of COCO's people in simulated darkness. A config names this file beside one of ExLPose's boxes, and takes
# over the variables at the end; any set in COCO's format does in place of COCO.
_base_ = []
from exlpose_mm.engine.variables import variable

coco_root = variable('data_root', 'data/coco')
coco_file = 'annotations/instances_val2017.json'

coco_load = dict(type='LoadLabelledImage')
coco_boxes = dict(type='LoadAnnotations', with_bbox=True)
coco_darken = dict(type='SimulateLowLight', level='exlpose')
coco_normalise = dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')])
coco_move = dict(
    type='OnViews',
    transforms=[
        dict(type='RandomResize', scale=(1024, 640), ratio_range=(0.5, 2.0), keep_ratio=True),
        dict(type='RandomCrop', crop_size=(1024, 640)),
        dict(type='RandomFlip', prob=0.5),
    ],
)
coco_pack = dict(type='PackPairedDetInputs')

coco_people = dict(type='CocoDataset', data_root=coco_root, metainfo=dict(classes=('person',)))
dark_train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[coco_load, coco_boxes, coco_darken, coco_normalise, coco_move, coco_pack],
        **coco_people,
    )
)

# The same people once per level of the camera and once well lit.
coco_normal = dict(type='SimulateLowLight', level='exlpose-normal', paired=False)
coco_hard = dict(type='SimulateLowLight', level='exlpose-hard', paired=False)
coco_extreme = dict(type='SimulateLowLight', level='exlpose-extreme', paired=False)
coco_lit = dict(type='TagLighting', lighting='well_lit')
coco_test = dict(ann_file=coco_file, data_prefix=dict(img='val2017/'), test_mode=True, **coco_people)
dark_val_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(pipeline=[coco_load, coco_normal], **coco_test),
            dict(pipeline=[coco_load, coco_hard], **coco_test),
            dict(pipeline=[coco_load, coco_extreme], **coco_test),
            dict(pipeline=[coco_load, coco_lit], **coco_test),
        ]
    )
)

dark_val_evaluator = dict(
    data_root=coco_root, ann_files={'LL-N': coco_file, 'LL-H': coco_file, 'LL-E': coco_file, 'WL': coco_file}
)
