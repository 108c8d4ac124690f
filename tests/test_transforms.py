"""Transforms for one lighting and for pairs."""
import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmpose.registry import TRANSFORMS

from exlpose_mm import (LIGHTINGS, AntiAlias, LoadPairedImages, OnLighting, PackPairedInputs, ScaleToMean,
                        TagLighting, ThinPhotons)
from exlpose_mm.transforms import MOMENTUM_VIEW, ImageError

FLIP = [1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 12, 13]


def image(seed=0, low=0, high=256, size=(40, 30)):
    return np.random.default_rng(seed).integers(low, high, (*size, 3), dtype=np.uint8)


def person(**kwargs):
    rng = np.random.default_rng(5)
    return dict(
        bbox=np.float32([[4, 5, 25, 35]]), bbox_score=np.ones(1, np.float32), img_id=7, id=3,
        keypoints=rng.uniform(5, 25, (1, 14, 2)).astype(np.float32),
        keypoints_visible=np.ones((1, 14), np.float32), flip_indices=FLIP,
        img_shape=(40, 30), ori_shape=(40, 30), img_path='a.png', **kwargs)


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


class TestScaleToMean:

    def test_every_channel_of_the_whole_frame(self):
        frame = image(high=4)
        frame[0, 0] = 18
        out = ScaleToMean(0.4).transform(dict(img=frame.copy()))['img']
        for c in range(3):
            mean = sum(int(v) for v in frame[..., c].ravel()) / frame[..., c].size
            np.testing.assert_allclose(out[..., c], frame[..., c] * (255 * 0.4 / mean), rtol=1e-5)
        assert out.max() > 255, 'it is not clipped'

    def test_a_channel_of_zeros_stays_zero(self):
        frame = image(high=4)
        frame[..., 1] = 0
        out = ScaleToMean().transform(dict(img=frame))['img']
        assert np.isfinite(out).all() and not out[..., 1].any()
        np.testing.assert_allclose(out[..., 0].mean(), 102, rtol=1e-5)

    def test_twice_is_once(self):
        once = ScaleToMean().transform(dict(img=image(high=4)))['img']
        np.testing.assert_allclose(ScaleToMean().transform(dict(img=once))['img'], once, rtol=1e-5)

    @pytest.mark.parametrize('mean', [0, -1, 1.5])
    def test_range(self, mean):
        with pytest.raises(ValueError, match=str(mean)):
            ScaleToMean(mean)


BOXES = [((60, 45), (40, 80), 0.), ((60, 45), (90, 50), 33.), ((5, 80), (60, 60), -70.),
         ((118, 2), (200, 300), 12.), ((60, 45), (9, 12), 180.), ((300, 45), (40, 80), 0.)]
"""Centre and size (x, y) in a frame of 120 x 90 pixels, and rotation in degrees."""


AFFINE = dict(type='TopdownAffine', input_size=(24, 32))


def placed(frame, box):
    centre, size, turn = box
    return dict(img=frame, bbox_center=np.float32([centre]), bbox_scale=np.float32([size]),
                bbox_rotation=np.float32([turn]))


class TestSampledRegion:

    @pytest.mark.parametrize('box', BOXES)
    def test_the_crop_is_that_of_the_whole_frame(self, box):
        frame = image(high=4, size=(90, 120))
        crop = TRANSFORMS.build(AFFINE)
        whole, part = (crop.transform(ScaleToMean(crop=region).transform(placed(frame, box)))['img']
                       for region in (None, AFFINE))
        np.testing.assert_array_equal(part, whole)

    @pytest.mark.parametrize('scale_range', [None, (0.7, 1.35), (0.5, 0.9)])
    @pytest.mark.parametrize('bbox', [(40, 20, 70, 80), (-20, 50, 30, 130), (110, 0, 119, 8), (200, 20, 230, 50)])
    def test_the_official_crop_is_that_of_the_whole_frame(self, scale_range, bbox):
        frame = image(high=4, size=(90, 120))
        cfg = dict(type='CPNCrop', input_size=(24, 32), scale_range=scale_range)
        crops = []
        for region in (None, cfg):
            np.random.seed(1)
            results = dict(img=frame, bbox=np.float32([bbox]))
            crops.append(TRANSFORMS.build(cfg).transform(ScaleToMean(crop=region).transform(results))['img'])
        np.testing.assert_array_equal(*crops)

    def test_little_else_is_scaled(self):
        frame = image(1, 1, 4, size=(900, 1200))
        out = ScaleToMean(crop=AFFINE).transform(placed(frame, BOXES[0]))['img']
        assert 60 * 80 < out.any(axis=2).sum() < 2 * 60 * 80

    @pytest.mark.parametrize('step', [ScaleToMean(crop=AFFINE), AntiAlias((24, 32))])
    def test_a_box_is_needed_first(self, step):
        with pytest.raises(KeyError, match='after GetBBoxCenterScale'):
            step.transform(dict(img=image()))


class TestAntiAlias:

    @staticmethod
    def crop(frame, box, *steps):
        results = placed(frame, box)
        for step in steps:
            results = step.transform(results)
        return TRANSFORMS.build(dict(type='TopdownAffine', input_size=(24, 32))).transform(results)['img']

    @pytest.mark.parametrize('shrinks', [2., 5.])
    def test_noise_falls_as_the_gaussian_averages(self, shrinks):
        frame = np.random.default_rng(0).normal(size=(400, 300, 3)).astype(np.float32)
        out = self.crop(frame, ((150, 200), (24 * shrinks, 32 * shrinks), 0.), AntiAlias((24, 32)))
        variance = 1 / (4 * np.pi * 0.5**2 * (shrinks**2 - 1))  # integral of the squared kernel
        assert out.var() == pytest.approx(variance, rel=0.15)
        assert self.crop(frame, ((150, 200), (24 * shrinks, 32 * shrinks), 0.)).var() > 2 * out.var()

    @pytest.mark.parametrize('box', BOXES)
    def test_the_crop_is_that_of_the_blurred_whole_frame(self, box):
        frame = cv2.GaussianBlur(image(2, size=(90, 120)).astype(np.float32), (0, 0), 2.)
        shrinks = max(box[1][0] / 24, box[1][1] / 32)
        want = frame
        if shrinks > 1:
            want = cv2.GaussianBlur(frame, (0, 0), 0.5 * np.sqrt(shrinks**2 - 1))
        # OpenCV blurs with a kernel cut off at four standard deviations.
        np.testing.assert_allclose(self.crop(frame.copy(), box, AntiAlias((24, 32))), self.crop(want, box), atol=0.5)

    def test_an_enlarged_crop_stays_as_it_is(self):
        frame = image(3, size=(90, 120)).astype(np.float32)
        out = AntiAlias((24, 32)).transform(placed(frame.copy(), BOXES[4]))['img']
        np.testing.assert_array_equal(out, frame)

    def test_a_wrong_sigma(self):
        with pytest.raises(ValueError, match='positive sigma, got 0'):
            AntiAlias((24, 32), sigma=0)


class TestMomentumView:

    def pair(self):
        return dict(img=[image(0, 1, 9), image(1)], lighting=LIGHTINGS, **{k: v for k, v in person().items()})

    def test_the_student_alone_is_degraded(self):
        steps = Compose([
            dict(type='AddMomentumView'),
            dict(type='OnStudent', transforms=[dict(type='ThinPhotons', prob=1.)]),
            dict(type='OnLighting', lighting='low_light', transforms=[dict(type='ScaleToMean')])])
        student, well_lit, view = steps(self.pair())['img']
        want = ScaleToMean().transform(dict(img=image(0, 1, 9)))['img']
        np.testing.assert_array_equal(view, want)
        np.testing.assert_array_equal(well_lit, image(1))
        assert (student != want).any()

    def test_three_inputs(self):
        steps = Compose([
            dict(type='AddMomentumView'), dict(type='GetBBoxCenterScale'),
            dict(type='RandomFlip', direction='horizontal', prob=1.),
            dict(type='TopdownAffine', input_size=(24, 32)), dict(type='PackPairedInputs')])
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
        assert present == {'low_light': [False, True, True], 'well_lit': [True, False, True],
                           MOMENTUM_VIEW: [False, True, True]}
        assert [sample.lighting for sample in batch['data_samples']] == [
            'well_lit', ('low_light', 'low_light'), (*LIGHTINGS, 'low_light')]

    def test_an_unknown_input(self):
        with pytest.raises(ValueError, match="unknown inputs .'dim'"):
            PackPairedInputs(inputs=['dim'])

    @pytest.mark.parametrize('lighting', ['well_lit', ('low_light', 'low_light')])
    def test_only_pairs_and_dark_images(self, lighting):
        with pytest.raises(ValueError, match='takes a pair or a low-light image'):
            TRANSFORMS.build(dict(type='AddMomentumView')).transform(dict(img=[1, 2], lighting=lighting))


class TestThinPhotons:

    def test_a_thinned_poisson_frame_is_one_of_less_light(self):
        np.random.seed(0)
        frame = np.random.default_rng(0).poisson(4., (300, 400, 3)).astype(np.uint8)
        out = ThinPhotons(keep=(0.25, 0.25), prob=1., person=False).transform(dict(img=frame))['img']
        assert out.mean() == pytest.approx(1., rel=0.01) and out.var() == pytest.approx(1., rel=0.02)
        assert (out <= frame).all() and out.dtype == np.uint8

    def test_the_person_alone(self):
        np.random.seed(0)
        frame = np.full((90, 120, 3), 200, np.uint8)
        box = np.float32([[40, 30, 60, 50]])
        out = ThinPhotons(keep=(0.5, 0.5), prob=1.).transform(dict(img=frame, bbox=box))['img']
        thinned = np.argwhere((out < 200).all(axis=2))
        assert thinned.min(axis=0).tolist() == [25, 35] and thinned.max(axis=0).tolist() == [54, 64]
        assert (frame == 200).all(), 'the input stays'

    def test_probability(self):
        np.random.seed(0)
        frame = np.full((4, 4, 3), 200, np.uint8)
        step = ThinPhotons(prob=0.3, person=False)
        changed = [(step.transform(dict(img=frame))['img'] != frame).any() for _ in range(300)]
        assert np.mean(changed) == pytest.approx(0.3, abs=0.08)

    @pytest.mark.parametrize('kwargs', [dict(keep=(0., 1.)), dict(keep=(0.6, 0.5)), dict(keep=(0.5, 1.2)),
                                        dict(prob=1.5), dict(scale=0)])
    def test_wrong_arguments(self, kwargs):
        with pytest.raises(ValueError, match='ThinPhotons takes'):
            ThinPhotons(**kwargs)

    def test_a_scaled_image_has_no_photons(self):
        with pytest.raises(ValueError, match='before ScaleToMean'):
            ThinPhotons().transform(dict(img=image().astype(np.float32)))


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
                dict(img=[image(), image()], lighting=LIGHTINGS))


class TestTagLighting:

    @pytest.mark.parametrize('high,lit', [(6, 'low_light'), (256, 'well_lit')])
    def test_reads_the_brightness(self, high, lit):
        assert TagLighting().transform(dict(img=image(high=high)))['lighting'] == lit

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
    steps = [dict(type='GetBBoxCenterScale'), dict(type='RandomFlip', prob=1.),
             dict(type='RandomBBoxTransform'), dict(type='TopdownAffine', input_size=(24, 32))]
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
