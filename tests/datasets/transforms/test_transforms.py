"""Transforms for one lighting and for pairs."""

import json
from unittest import mock

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmpose.registry import TRANSFORMS
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from exlpose_mm import LIGHTINGS, LoadPairedImages, OnLighting, PackPairedInputs, ScaleToMean, TagLighting
from exlpose_mm.datasets.collate import stack_views
from exlpose_mm.datasets.transforms.darkening import SimulateLowLight
from exlpose_mm.datasets.transforms.loading import ImageError
from exlpose_mm.views import MOMENTUM_VIEW

FLIP = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]


def image(seed=0, low=0, high=256, size=(40, 30)):
    return np.random.default_rng(seed).integers(low, high, (*size, 3), dtype=np.uint8)


def person(**kwargs):
    rng = np.random.default_rng(5)
    return dict(
        bbox=np.float32([[4, 5, 25, 35]]),
        bbox_score=np.ones(1, np.float32),
        img_id=7,
        id=3,
        keypoints=rng.uniform(5, 25, (1, 14, 2)).astype(np.float32),
        keypoints_visible=np.ones((1, 14), np.float32),
        flip_indices=FLIP,
        img_shape=(40, 30),
        ori_shape=(40, 30),
        img_path='a.png',
        **kwargs,
    )


class TestLoadPairedImages:
    def test_low_light_first(self, tmp_path):
        paths = [str(tmp_path / f'{name}.png') for name in LIGHTINGS]
        images = [image(0, high=3), image(1)]
        for path, pixels in zip(paths, images):
            cv2.imwrite(path, pixels)
        out = LoadPairedImages().transform(dict(img_path=paths[0], well_lit_path=paths[1]))
        for got, want in zip(out['img'], images):
            np.testing.assert_array_equal(got, want)
        assert out['lighting'] == LIGHTINGS and out['ori_shape'] == (40, 30)

    def test_sizes_that_differ_name_both_files(self, tmp_path):
        paths = [str(tmp_path / f'{name}.png') for name in LIGHTINGS]
        cv2.imwrite(paths[0], image())
        cv2.imwrite(paths[1], image(size=(41, 30)))
        with pytest.raises(ImageError, match=r'low_light.png \(40, 30\).*well_lit.png \(41, 30\)'):
            LoadPairedImages().transform(dict(img_path=paths[0], well_lit_path=paths[1]))

    @pytest.mark.parametrize('content', [None, b'', b'not an image'])
    def test_an_unreadable_image_is_named(self, tmp_path, content):
        good, bad = str(tmp_path / 'good.png'), tmp_path / 'bad.png'
        cv2.imwrite(good, image())
        if content is not None:
            bad.write_bytes(content)
        with pytest.raises(ImageError, match='bad.png'):
            LoadPairedImages().transform(dict(img_path=good, well_lit_path=str(bad)))


class TestMomentumView:
    def pair(self):
        return dict(img=[image(0, 1, 9), image(1)], lighting=LIGHTINGS, **person())

    def test_the_student_alone_is_degraded(self):
        steps = Compose(
            [
                dict(type='AddMomentumView'),
                dict(type='OnStudent', transforms=[dict(type='ThinPhotons', prob=1.0)]),
                dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')]),
            ]
        )
        student, well_lit, view = steps(self.pair())['img']
        want = ScaleToMean().transform(dict(img=image(0, 1, 9)))['img']
        np.testing.assert_array_equal(view, want)
        np.testing.assert_array_equal(well_lit, image(1))
        assert (student != want).any()

    @pytest.mark.parametrize('single', [False, True])
    def test_a_step_in_place_does_not_reach_the_teacher(self, single):
        cut = dict(type='mmdet.CutOut', n_holes=4, cutout_ratio=(0.5, 0.5), fill_in=(255, 255, 255))
        results = dict(self.pair())
        if single:
            results.update(img=results['img'][0], lighting='low_light')
        images = Compose([dict(type='AddMomentumView'), dict(type='OnStudent', transforms=[cut])])(results)['img']
        np.testing.assert_array_equal(images[-1], image(0, 1, 9))
        assert (images[0] == 255).any()

    def test_three_inputs(self):
        steps = Compose(
            [
                dict(type='AddMomentumView'),
                dict(type='GetBBoxCenterScale'),
                dict(type='RandomFlip', direction='horizontal', prob=1.0),
                dict(type='TopdownAffine', input_size=(24, 32)),
                dict(type='PackPairedInputs'),
            ]
        )
        inputs = steps(self.pair())['inputs']
        assert list(inputs) == [*LIGHTINGS, MOMENTUM_VIEW]
        torch.testing.assert_close(inputs[MOMENTUM_VIEW], inputs['low_light'])
        assert (inputs['well_lit'] != inputs['low_light']).any()

    def test_a_batch_of_all_kinds(self):
        """A pair with a view, a dark image with one, and a well-lit image."""
        pack = dict(type='PackPairedInputs', inputs=[*LIGHTINGS, MOMENTUM_VIEW])
        both = Compose([dict(type='AddMomentumView'), pack])
        single = person(img=image(3), lighting='low_light')
        lit = person(img=image(4), lighting='well_lit')
        batch = pseudo_collate([Compose([pack])(lit), both(single), both(self.pair())])
        present = {name: [x is not None for x in images] for name, images in batch['inputs'].items()}
        assert present == {
            'low_light': [False, True, True],
            'well_lit': [True, False, True],
            MOMENTUM_VIEW: [False, True, True],
        }
        assert [sample.lighting for sample in batch['data_samples']] == ['well_lit', 'low_light', LIGHTINGS]
        views = [sample.get('views') for sample in batch['data_samples']]
        assert views == [None, ('low_light', MOMENTUM_VIEW), (*LIGHTINGS, MOMENTUM_VIEW)]

    def test_a_batch_of_all_kinds_is_stacked(self):
        """As a loader's worker hands it over, and as it is pinned."""
        pack = dict(type='PackPairedInputs', inputs=[*LIGHTINGS, MOMENTUM_VIEW])
        both = Compose([dict(type='AddMomentumView'), pack])
        samples = [Compose([pack])(person(img=image(4), lighting='well_lit')), both(self.pair()), both(self.pair())]
        batch = next(iter(DataLoader(samples, batch_size=3, collate_fn=stack_views, num_workers=1)))['inputs']
        assert batch['low_light'].rows == batch[MOMENTUM_VIEW].rows == [1, 2]
        assert torch.equal(batch['low_light'].images[1], samples[2]['inputs']['low_light'])
        assert torch.equal(batch['well_lit'], torch.stack([one['inputs']['well_lit'] for one in samples]))

    def test_all_that_is_stacked_can_be_pinned(self):
        batch = stack_views(
            [
                dict(inputs=dict(low_light=torch.ones(3, 4, 2), well_lit=well_lit), data_samples='a')
                for well_lit in (None, torch.ones(3, 4, 2))
            ]
        )
        with mock.patch.object(torch.Tensor, 'pin_memory', lambda image, *_: image + 1):
            pinned = pin_memory(batch)
        assert (pinned['inputs']['low_light'] == 2).all() and pinned['inputs']['low_light'].shape == (2, 3, 4, 2)
        assert pinned['inputs']['well_lit'].rows == [1] and (pinned['inputs']['well_lit'].images == 2).all()
        assert pinned['data_samples'] == ['a', 'a']

    def test_an_unknown_input(self):
        with pytest.raises(ValueError, match="unknown inputs .'dim'"):
            PackPairedInputs(inputs=['dim'])

    @pytest.mark.parametrize('lighting', ['well_lit', ('low_light', 'low_light')])
    def test_only_pairs_and_dark_images(self, lighting):
        with pytest.raises(ValueError, match='takes a pair or a low-light image'):
            TRANSFORMS.build(dict(type='AddMomentumView')).transform(dict(img=[1, 2], lighting=lighting))


class TestOnLighting:
    STEP = [dict(type='ScaleToMean', mean=0.2)]

    def test_touches_one_image_of_a_pair(self):
        pair = [image(0), image(1)]
        out = OnLighting('well_lit', self.STEP).transform(dict(img=list(pair), lighting=LIGHTINGS))
        np.testing.assert_array_equal(out['img'][0], pair[0])
        np.testing.assert_allclose(out['img'][1].mean((0, 1)), 51, rtol=1e-4)

    @pytest.mark.parametrize('lit,mean', [('low_light', 51), ('well_lit', None)])
    def test_a_single_image_of_this_or_the_other_lighting(self, lit, mean):
        out = OnLighting('low_light', self.STEP).transform(dict(img=image(), lighting=lit))['img']
        np.testing.assert_allclose(out.mean(), image().mean() if mean is None else mean, rtol=1e-4)

    def test_errors(self):
        with pytest.raises(ValueError, match="'dark'"):
            OnLighting('dark', self.STEP)
        with pytest.raises(KeyError, match='TagLighting'):
            OnLighting('low_light', self.STEP).transform(dict(img=image(), img_path='a.png'))
        with pytest.raises(ValueError, match='photometric'):
            OnLighting('low_light', [dict(type='mmcv.Resize', scale=(10, 10))]).transform(
                dict(img=[image(), image()], lighting=LIGHTINGS)
            )


class TestTagLighting:
    @pytest.mark.parametrize('high,lit', [(6, 'low_light'), (256, 'well_lit')])
    def test_reads_the_brightness(self, high, lit):
        assert TagLighting().transform(dict(img=image(high=high)))['lighting'] == lit

    @pytest.mark.parametrize(
        'around, person, lit',
        [
            (30, 30, 'low_light'),
            (60, 60, 'well_lit'),
            (0, 100, 'well_lit'),
            (1, 40, 'well_lit'),
            (1, 3, 'low_light'),
            (60, 20, 'low_light'),
            (255, 30, 'well_lit'),
            (0, 0, 'low_light'),
        ],
    )
    def test_looks_at_the_person(self, around, person, lit):
        """By hand: the low-light branch would see the person at 102 * person / frame, the other as it is."""
        frame = np.full((40, 50, 3), around, np.uint8)
        frame[10:30, 20:30] = person
        assert TagLighting().transform(dict(img=frame, bbox=np.float32([[20, 10, 30, 30]])))['lighting'] == lit

    def test_a_box_that_leaves_the_frame(self):
        frame = np.full((40, 50, 3), 5, np.uint8)
        frame[:, 40:] = 120
        for box, lit in (([40, -10, 90, 70], 'well_lit'), ([60, 0, 70, 40], 'low_light')):
            assert TagLighting().transform(dict(img=frame, bbox=np.float32([box])))['lighting'] == lit

    def test_real_night_photographs(self, data_dir):
        """Three photographs of night streets, with lamps, and two frames of ExLPose."""
        paths = [*(data_dir / 'lowlight_real').glob('*.*'), *(data_dir / 'exlpose_official').glob('*.png')]
        for path in paths:
            assert TagLighting().transform(dict(img=cv2.imread(str(path))))['lighting'] == 'low_light', path
        assert len(paths) == 5

    def test_photographs_of_lspet_as_they_are_and_darkened(self, data_dir):
        content = json.loads((data_dir / 'lspet14' / 'annotations' / 'lspet14_val.json').read_text(encoding='utf-8'))
        names = {entry['id']: entry['file_name'] for entry in content['images']}
        darken = SimulateLowLight((20.0, 20.0), paired=False)
        found = []
        for person in content['annotations'][::10]:
            photograph = cv2.imread(str(data_dir / 'lspet14' / 'images' / names[person['image_id']]))
            x, y, w, h = person['bbox']
            sample = dict(bbox=np.float32([[x, y, x + w, y + h]]), img_id=person['image_id'])
            dark = darken.transform(dict(img=photograph, img_id=1))['img']
            found.append(
                [TagLighting().transform(dict(sample, img=pixels))['lighting'] for pixels in (photograph, dark)]
            )
        assert len(found) > 40
        assert all(pair == ['well_lit', 'low_light'] for pair in found)

    def test_keeps_what_was_said_before(self):
        assert TagLighting('well_lit').transform(dict(lighting='low_light')) == dict(lighting='low_light')

    def test_a_fixed_lighting_names_the_row_of_the_table(self):
        assert TagLighting('well_lit').transform({}) == dict(lighting='well_lit', split='WL')
        with pytest.raises(ValueError, match="'bright'"):
            TagLighting('bright')


class TestPackPairedInputs:
    def test_a_pair_is_one_sample_with_two_inputs(self):
        results = person(img=[image().astype(np.float32), image(1)], lighting=LIGHTINGS, split='LL')
        out = PackPairedInputs().transform(results)
        assert list(out['inputs']) == list(LIGHTINGS)
        np.testing.assert_array_equal(out['inputs']['low_light'].numpy(), image().transpose(2, 0, 1))
        np.testing.assert_array_equal(out['inputs']['well_lit'].numpy(), image(1).transpose(2, 0, 1))
        assert out['data_samples'].metainfo['split'] == 'LL'

    def test_a_single_image_is_packed_as_by_mmpose(self):
        out = PackPairedInputs().transform(person(img=image(), lighting='low_light'))
        assert isinstance(out['inputs'], torch.Tensor)
        assert out['data_samples'].metainfo['lighting'] == 'low_light'


def test_geometry_is_shared_and_flips_the_joints_once():
    """MMPose's own transforms, on a pair of equal images, against a single image."""
    steps = [
        dict(type='GetBBoxCenterScale'),
        dict(type='RandomFlip', prob=1.0),
        dict(type='RandomBBoxTransform'),
        dict(type='TopdownAffine', input_size=(24, 32)),
    ]
    outs = []
    for pixels in (image(), [image(), image()]):
        np.random.seed(3)
        outs.append(Compose([TRANSFORMS.build(step) for step in steps])(person(img=pixels)))
    single, pair = outs
    for moved in pair['img']:
        np.testing.assert_array_equal(moved, single['img'])
    np.testing.assert_array_equal(pair['transformed_keypoints'], single['transformed_keypoints'])
    # The image is 30 wide: x becomes 29 - x, left and right change places.
    flipped = person()['keypoints'][:, FLIP]
    np.testing.assert_allclose(pair['keypoints'][..., 0], 29 - flipped[..., 0], rtol=1e-5)
