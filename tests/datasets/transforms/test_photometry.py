"""A dark image's values before the crop: scaled, averaged, thinned."""

import cv2
import numpy as np
import pytest
from mmpose.registry import TRANSFORMS
from test_transforms import image

from exlpose_mm import AntiAlias, ScaleToMean, ThinPhotons
from exlpose_mm.datasets.transforms.photometry import sampled_region


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

    def test_the_type_of_the_frame_is_no_matter(self):
        frame = image(high=4)
        scaled = [ScaleToMean().transform(dict(img=frame.astype(kind)))['img'] for kind in (np.uint8, np.float32)]
        np.testing.assert_allclose(*scaled, rtol=1e-6)

    def test_a_channel_that_is_almost_black(self):
        frame = np.zeros((10, 10, 3), np.uint8)
        frame[0, :5] = 1, 2, 3  # means of 0.05, 0.1 and 0.15
        out = ScaleToMean(0.4).transform(dict(img=frame))['img']
        np.testing.assert_allclose(out.mean(axis=(0, 1)), 102, rtol=1e-5)

    def test_pixels_that_a_crop_cache_left_out_count_for_the_mean(self):
        frame = image(high=4)
        whole = ScaleToMean().transform(dict(img=frame.copy()))['img']
        kept = np.zeros_like(frame)
        kept[5:20, 10:30] = frame[5:20, 10:30]
        lost = (frame.astype(int) - kept).sum(axis=(0, 1))
        cached = dict(img=kept, lighting='low_light', lost_sums=dict(low_light=lost, well_lit=1e6 * lost))
        np.testing.assert_array_equal(ScaleToMean().transform(cached)['img'][5:20, 10:30], whole[5:20, 10:30])

    @pytest.mark.parametrize('mean', [0, -1, 1.5])
    def test_range(self, mean):
        with pytest.raises(ValueError, match=str(mean)):
            ScaleToMean(mean)

    def test_white_is_a_mean(self):
        out = ScaleToMean(1.0).transform(dict(img=image(high=4)))['img']
        np.testing.assert_allclose(out.mean(axis=(0, 1)), 255, rtol=1e-5)


BOXES = [
    ((60, 45), (40, 80), 0.0),
    ((60, 45), (90, 50), 33.0),
    ((5, 80), (60, 60), -70.0),
    ((118, 2), (200, 300), 12.0),
    ((60, 45), (9, 12), 180.0),
    ((300, 45), (40, 80), 0.0),
]
"""Centre and size (x, y) in a frame of 120 x 90 pixels, and rotation in degrees."""


AFFINE = dict(type='TopdownAffine', input_size=(24, 32))


def placed(frame, box):
    centre, size, turn = box
    return dict(
        img=frame, bbox_center=np.float32([centre]), bbox_scale=np.float32([size]), bbox_rotation=np.float32([turn])
    )


class TestSampledRegion:
    @pytest.mark.parametrize('box', BOXES)
    def test_the_crop_is_that_of_the_whole_frame(self, box):
        frame = image(high=4, size=(90, 120))
        crop = TRANSFORMS.build(AFFINE)
        whole, part = (
            crop.transform(ScaleToMean(crop=region).transform(placed(frame, box)))['img'] for region in (None, AFFINE)
        )
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

    def test_without_a_rotation_the_crop_is_upright(self):
        frame = image(high=4, size=(900, 1200))
        unsaid, upright = placed(frame, ((600, 450), (240, 320), 0.0)), placed(frame, ((600, 450), (240, 320), 0.0))
        del unsaid['bbox_rotation']
        out = [ScaleToMean(crop=AFFINE).transform(results)['img'] for results in (unsaid, upright)]
        np.testing.assert_array_equal(*out)

    def test_the_region_is_the_crop_with_two_pixels_of_the_network_around_it(self):
        rows, columns = sampled_region(placed(image(size=(900, 1200)), ((600, 450), (240, 320), 0.0)), self.crop())
        # Pixels of the network are 10 wide, so 20 of the frame, and 2 for bilinear sampling, on each side.
        assert (columns.start, columns.stop) == (600 - 120 - 22, 600 + 120 + 22 + 1)
        assert (rows.start, rows.stop) == (450 - 160 - 22, 450 + 160 + 22 + 1)

    def test_the_region_of_a_crop_that_lies_on_its_side(self):
        rows, columns = sampled_region(placed(image(size=(900, 1200)), ((600, 450), (240, 320), 90.0)), self.crop())
        found = [columns.start, columns.stop, rows.start, rows.stop]
        reach = [-160 - 22, 160 + 22 + 1, -120 - 22, 120 + 22 + 1]
        np.testing.assert_allclose(found, np.add([600, 600, 450, 450], reach), atol=1)

    @staticmethod
    def crop():
        return TRANSFORMS.build(AFFINE)

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

    @pytest.mark.parametrize('shrinks', [2.0, 5.0])
    def test_noise_falls_as_the_gaussian_averages(self, shrinks):
        frame = np.random.default_rng(0).normal(size=(400, 300, 3)).astype(np.float32)
        out = self.crop(frame, ((150, 200), (24 * shrinks, 32 * shrinks), 0.0), AntiAlias((24, 32)))
        variance = 1 / (4 * np.pi * 0.5**2 * (shrinks**2 - 1))  # integral of the squared kernel
        assert out.var() == pytest.approx(variance, rel=0.15)
        assert self.crop(frame, ((150, 200), (24 * shrinks, 32 * shrinks), 0.0)).var() > 2 * out.var()

    @pytest.mark.parametrize('box', BOXES)
    def test_the_crop_is_that_of_the_blurred_whole_frame(self, box):
        frame = cv2.GaussianBlur(image(2, size=(90, 120)).astype(np.float32), (0, 0), 2.0)
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


class TestThinPhotons:
    def test_a_thinned_poisson_frame_is_one_of_less_light(self):
        np.random.seed(0)
        frame = np.random.default_rng(0).poisson(4.0, (300, 400, 3)).astype(np.uint8)
        out = ThinPhotons(keep=(0.25, 0.25), prob=1.0, person=False).transform(dict(img=frame))['img']
        assert out.mean() == pytest.approx(1.0, rel=0.01) and out.var() == pytest.approx(1.0, rel=0.02)
        assert (out <= frame).all() and out.dtype == np.uint8

    def test_the_person_alone(self):
        np.random.seed(0)
        frame = np.full((90, 120, 3), 200, np.uint8)
        box = np.float32([[40, 30, 60, 50]])
        out = ThinPhotons(keep=(0.5, 0.5), prob=1.0).transform(dict(img=frame, bbox=box))['img']
        thinned = np.argwhere((out < 200).all(axis=2))
        assert thinned.min(axis=0).tolist() == [25, 35] and thinned.max(axis=0).tolist() == [54, 64]
        assert (frame == 200).all(), 'the input stays'

    def test_probability(self):
        np.random.seed(0)
        frame = np.full((4, 4, 3), 200, np.uint8)
        step = ThinPhotons(prob=0.3, person=False)
        changed = [(step.transform(dict(img=frame))['img'] != frame).any() for _ in range(300)]
        assert np.mean(changed) == pytest.approx(0.3, abs=0.08)

    def test_all_photons_or_never_any_thinned(self):
        frame = image(high=9)
        for step in (ThinPhotons(keep=(1.0, 1.0), prob=1.0, person=False), ThinPhotons(prob=0.0, person=False)):
            np.testing.assert_array_equal(step.transform(dict(img=frame))['img'], frame)

    def test_a_part_of_the_box(self):
        np.random.seed(0)
        frame, box = np.full((90, 120, 3), 200, np.uint8), np.float32([[40, 30, 60, 50]])
        out = ThinPhotons(keep=(0.5, 0.5), prob=1.0, scale=0.5).transform(dict(img=frame, bbox=box))['img']
        thinned = np.argwhere((out < 200).all(axis=2))
        assert thinned.min(axis=0).tolist() == [35, 45] and thinned.max(axis=0).tolist() == [44, 54]

    @pytest.mark.parametrize(
        'kwargs', [dict(keep=(0.0, 1.0)), dict(keep=(0.6, 0.5)), dict(keep=(0.5, 1.2)), dict(prob=1.5), dict(scale=0)]
    )
    def test_wrong_arguments(self, kwargs):
        with pytest.raises(ValueError, match='ThinPhotons takes'):
            ThinPhotons(**kwargs)

    def test_a_scaled_image_has_no_photons(self):
        with pytest.raises(ValueError, match='before ScaleToMean'):
            ThinPhotons().transform(dict(img=image().astype(np.float32)))
