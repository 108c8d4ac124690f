"""Whole images with several people: one geometry for all images of a sample, and what is masked."""

import json

import cv2
import numpy as np
import pytest
from conftest import STANDING
from mmpose.datasets.transforms import BottomupResize, GenerateTarget, RandomFlip

from exlpose_mm import LIGHTINGS, DarkenPeople, ExLPoseDataset, MaskInvalidPeople, PackPairedInputs, PairedRandomAffine
from exlpose_mm.datasets.collate import stack_views

SIZE = (128, 128)
FLIP = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]
DEKR = dict(type='SPR', input_size=SIZE, heatmap_size=(32, 32), sigma=(2, 1), generate_keypoint_heatmaps=True)
AE = dict(type='AEHeatmap', input_size=SIZE, heatmap_size=(32, 32), sigma=1, decode_keypoint_order=[*range(14)])


def dotted_pair():
    """Two people, each joint a dot whose blue is its number; the well-lit image is the dark one and 100 in green."""
    boxes = np.array([[20, 20, 60, 100], [90, 10, 140, 110]], np.float32)
    keypoints = np.stack([box[:2] + STANDING * (box[2:] - box[:2]) for box in boxes]).astype(np.float32).round()
    dark = np.zeros((120, 160, 3), np.uint8)
    for person in keypoints:
        for number, (x, y) in enumerate(person.astype(int), 1):
            cv2.circle(dark, (x, y), 2, (10 * number, 0, 0), -1)
    lit = dark + np.uint8([0, 100, 0])
    return dict(
        img=[dark, lit],
        lighting=LIGHTINGS,
        img_shape=(120, 160),
        ori_shape=(120, 160),
        bbox=boxes,
        keypoints=keypoints,
        keypoints_visible=np.ones((2, 14, 2), np.float32),
        flip_indices=FLIP,
        category_id=np.ones(2),
        id=[1, 2],
        img_id=7,
        img_path='a.png',
        invalid_segs=[],
    )


def run(*steps, seed=0, **facts):
    np.random.seed(seed)
    results = dict(dotted_pair(), **facts)
    for step in steps:
        results = step(results)
    return results


class TestPairedRandomAffine:
    @pytest.mark.parametrize('seed', range(5))
    @pytest.mark.parametrize('direction', [None, 'horizontal'])
    def test_joints_follow_the_pixels_in_both_images(self, seed, direction):
        flip = RandomFlip(prob=1.0 if direction else 0.0)
        results = run(PairedRandomAffine(SIZE, scale_factor=(0.9, 1.2), shift_factor=0.1), flip, seed=seed)
        dark, lit = results['img']
        inside = 0
        for person in results['keypoints']:
            for joint, (x, y) in enumerate(person):
                if not (3 <= x < 125 and 3 <= y < 125):
                    continue
                blue = dark[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2, 0].astype(float)
                number = 1 + (FLIP[joint] if direction else joint)
                inside += 1
                assert abs(blue.max() - 10 * number) <= 12, (joint, blue)
        assert inside > 10
        np.testing.assert_array_equal(dark[..., 0], lit[..., 0])
        assert set(np.unique(lit[20:100, 20:100, 1])) <= {*range(101)}

    def test_boxes_are_upright(self):
        results = run(PairedRandomAffine(SIZE))
        assert results['bbox'].shape == (2, 4) and (results['bbox'][:, 2:] > results['bbox'][:, :2]).all()

    def test_an_input_that_is_no_square_is_refused(self):
        with pytest.raises(ValueError, match='square input_size'):
            PairedRandomAffine((128, 96))

    def test_single_images_are_as_mmposes(self):
        alone = run(PairedRandomAffine(SIZE), img=dotted_pair()['img'][0])
        np.testing.assert_array_equal(alone['img'], run(PairedRandomAffine(SIZE))['img'][0])


class TestTargetsAndPacking:
    @pytest.mark.parametrize('codec', [DEKR, AE], ids=['dekr', 'ae'])
    def test_pairs_are_packed_with_their_mask_and_stacked(self, codec):
        steps = PairedRandomAffine(SIZE), RandomFlip(prob=0.5), GenerateTarget(codec), MaskInvalidPeople()
        packed = [PackPairedInputs()(run(*steps, seed=seed)) for seed in (0, 1)]
        batch = stack_views(packed)
        assert {name: tuple(images.shape) for name, images in batch['inputs'].items()} == dict.fromkeys(
            LIGHTINGS, (2, 3, 128, 128)
        )
        fields = batch['data_samples'][0].gt_fields
        assert fields.heatmaps.shape == (15 if codec is DEKR else 14, 32, 32)
        assert fields.heatmap_mask.shape == (1, 32, 32) and fields.heatmap_mask.dtype.is_floating_point is False
        if codec is AE:
            assert batch['data_samples'][0].gt_instance_labels.keypoint_indices.shape == (2, 14, 2)

    def test_the_mask_lies_where_the_person_without_joints_is(self):
        """Unmoved, and as large as the frame's shorter side."""
        still = dict(shift_prob=0, scale_prob=0, rotate_prob=0)
        outline = [[[40, 0, 60, 0, 60, 60, 40, 60]]]
        steps = PairedRandomAffine((120, 120), **still), RandomFlip(prob=0.0), MaskInvalidPeople()
        mask = run(*steps, invalid_segs=outline)['heatmap_mask']
        # The middle 120 of 160 columns stay.
        assert not mask[5:55, 25:35].any() and mask[65:115, 5:115].all() and mask[:, 50:115].all()
        flipped = run(steps[0], RandomFlip(prob=1.0), steps[2], invalid_segs=outline)['heatmap_mask']
        np.testing.assert_array_equal(flipped, mask[:, ::-1])

    def test_several_scales_of_one_image(self):
        image = dotted_pair()['img'][0]
        steps = (BottomupResize(SIZE, aug_scales=[0.5, 2.0]), PackPairedInputs())
        packed = run(*steps, img=image, lighting='low_light')
        assert [tuple(scale.shape) for scale in packed['inputs']] == [(3, 128, 128), (3, 64, 64), (3, 256, 256)]
        assert packed['data_samples'].aug_scales == [0.5, 2.0]


def test_run_lengths_are_masked():
    """Two columns of four rows: the last row of the first and the first two of the second."""
    outline = dict(counts=[3, 3, 2], size=[4, 2])
    mask = MaskInvalidPeople()._segs_to_mask([outline], (4, 2))
    assert mask.T.tolist() == [[0, 0, 0, 1], [1, 1, 0, 0]]


class TestDarkenPeople:
    def test_each_person_by_a_factor_of_its_own(self):
        image = np.full((120, 160, 3), 100, np.uint8)
        results = run(DarkenPeople(prob=1.0, scale=1.0), img=image)
        first, second = results['img'][60, 40, 0], results['img'][60, 115, 0]
        assert first != second and 10 <= min(first, second) and max(first, second) <= 50
        assert results['img'][60, 75, 0] == 100 and results['img'][115, 40, 0] == 100
        assert results['img'].dtype == np.float32 and image.min() == 100

    def test_boxes_grow_about_their_centre(self):
        image = np.full((120, 160, 3), 100, np.uint8)
        one = dict(img=image, bbox=np.float32([[60, 40, 100, 80]]))
        changed = run(DarkenPeople(factor=(0.5, 0.5), prob=1.0), **one)['img'][..., 0] == 50
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert (rows[0], rows[-1], columns[0], columns[-1]) == (30, 89, 50, 109)

    def test_half_of_the_people(self):
        image = np.full((120, 160, 3), 100, np.uint8)
        dark = [run(DarkenPeople(scale=1.0), seed=i, img=image)['img'][60, [40, 115], 0] < 100 for i in range(100)]
        assert 0.35 < np.mean(dark) < 0.65

    @pytest.mark.parametrize('wrong', [dict(factor=(0.5, 0.1)), dict(prob=2), dict(scale=0), dict(factor=(0.1, 1.5))])
    def test_what_it_does_not_take(self, wrong):
        with pytest.raises(ValueError, match='DarkenPeople takes'):
            DarkenPeople(**wrong)


class TestDataset:
    def build(self, root, **kwargs):
        kwargs = dict(dict(lighting='paired', ann_file='ExLPose_train_LL.json', data_mode='bottomup'), **kwargs)
        return ExLPoseDataset(data_root=str(root), **kwargs)

    def test_a_sample_is_an_image_with_all_of_its_people(self, exlpose_root):
        dataset = self.build(exlpose_root)
        people = [dataset.get_data_info(i)['keypoints'].shape for i in range(len(dataset))]
        assert people == [(2, 14, 2), (1, 14, 2), (2, 14, 2), (1, 14, 2)]
        info = dataset.get_data_info(0)
        assert info['keypoints_visible'].shape == (2, 14, 2) and info['bbox'].shape == (2, 4)
        assert 'dark' in info['img_path'] and 'bright' in info['well_lit_path'] and info['split'] == 'LL'

    def test_who_has_no_joint_is_masked_by_the_box(self, exlpose_root):
        dataset = self.build(exlpose_root, lighting='low_light', ann_file='ExLPose_test_LL-H.json')
        infos = {info['img_id']: info for info in (dataset.get_data_info(i) for i in range(len(dataset)))}
        assert infos[2]['keypoints'].shape == (2, 14, 2)
        assert infos[2]['invalid_segs'] == [[[50, 40, 60, 40, 60, 60, 50, 60]]]
        assert infos[3]['invalid_segs'] == []

    def test_crowds_are_masked_by_their_outline(self, exlpose_root):
        path = exlpose_root / 'Annotations' / 'ExLPose_train_LL.json'
        content = json.loads(path.read_text(encoding='utf-8'))
        outline = [[1, 1, 9, 1, 9, 9]]
        content['annotations'][0].update(iscrowd=1, segmentation=outline)
        path.write_text(json.dumps(content), encoding='utf-8')
        info = self.build(exlpose_root).get_data_info(0)
        assert info['invalid_segs'] == [outline] and len(info['keypoints']) == 1

    def test_images_without_people_are_tested(self, exlpose_root):
        path = exlpose_root / 'Annotations' / 'ExLPose_test_LL-N.json'
        content = json.loads(path.read_text(encoding='utf-8'))
        content['annotations'] = [a for a in content['annotations'] if a['image_id'] != 1]
        path.write_text(json.dumps(content), encoding='utf-8')
        kwargs = dict(lighting='low_light', ann_file='ExLPose_test_LL-N.json')
        assert len(self.build(exlpose_root, test_mode=True, **kwargs)) == 2
        assert len(self.build(exlpose_root, **kwargs)) == 1
