"""Targets and decoding of CPNHeatmap against the rules written out."""

import cv2
import numpy as np
import pytest
from mmpose.datasets.transforms import GenerateTarget, PackPoseInputs
from mmpose.registry import KEYPOINT_CODECS
from mmpose.structures import MultilevelPixelData
from scipy.special import softmax

from exlpose_mm.codecs import CPNHeatmap, SoftmaxHeatmap

K = 14
KERNELS = (15, 11, 9, 7)


@pytest.fixture
def codec():
    return CPNHeatmap()


@pytest.fixture
def joints():
    """One person, all joints well inside the input."""
    x = np.linspace(20, 170, K)
    y = np.linspace(230, 30, K)
    return np.stack([x, y], axis=-1)[None].astype(np.float32)


def flags(**off):
    """Ones (1, K) but for the joints in ``off`` (``j3=0``)."""
    out = np.ones((1, K), np.float32)
    for name, value in off.items():
        out[0, int(name[1:])] = value
    return out


def blurred_impulse(x, y, size):
    """Convolve an impulse with a separable kernel, mirrored borders."""
    taps = cv2.getGaussianKernel(size, 0)[:, 0]
    r = size // 2
    impulse = np.zeros((64, 48))
    impulse[y, x] = 1
    padded = np.pad(impulse, r, mode='reflect')
    out = np.zeros_like(impulse)
    for dy in range(size):
        for dx in range(size):
            out += taps[dy] * taps[dx] * padded[dy : dy + 64, dx : dx + 48]
    return out / out.max() * 255


@pytest.mark.parametrize('xy', [(100.9, 50.2), (0.0, 0.0), (191.9, 255.9), (5.0, 251.0)])
def test_targets_are_blurred_impulses_with_peak_255(codec, joints, xy):
    joints[0, 3] = xy
    encoded = codec.encode(joints, flags())
    assert len(encoded['heatmaps']) == 5
    for size, maps in zip((*KERNELS, 7), encoded['heatmaps']):
        assert maps.shape == (K, 64, 48) and maps.dtype == np.float32
        expected = blurred_impulse(int(xy[0] // 4), int(xy[1] // 4), size)
        np.testing.assert_allclose(maps[3], expected, atol=1e-3)
        np.testing.assert_allclose(maps.max(axis=(1, 2)), 255, rtol=1e-6)


def test_kernel_7_by_value(codec, joints):
    joints[0, 0] = (82, 102)  # cell (20, 25)
    refined = codec.encode(joints)['heatmaps'][-1][0]
    # OpenCV's taps 2, 7, 14, 18, 14, 7, 2 of 64
    np.testing.assert_allclose(refined[25, 17:24], np.array([2, 7, 14, 18, 14, 7, 2]) / 18 * 255, rtol=1e-5)
    assert refined[25, 16] == 0


def test_occluded_joint_trains_the_refined_map_only(codec, joints):
    encoded = codec.encode(joints, flags(j5=0), flags(j5=0, j2=0))
    for maps in encoded['heatmaps'][:-1]:
        assert maps[2].max() == 0 and maps[5].max() == 0
        assert (maps.max(axis=(1, 2)) > 254).sum() == K - 2
    refined = encoded['heatmaps'][-1]
    assert refined[2].max() == pytest.approx(255)
    assert refined[5].max() == 0
    np.testing.assert_array_equal(encoded['keypoint_weights'], flags(j5=0))
    assert encoded['keypoint_weights'].dtype == np.float32
    # the finest global level shares the refined level's kernel
    np.testing.assert_array_equal(encoded['heatmaps'][3][0], refined[0])


def test_without_visibility_all_labelled_joints_are_visible(codec, joints):
    maps = codec.encode(joints, flags(j1=0))['heatmaps']
    for level in maps:
        np.testing.assert_array_equal(level.max(axis=(1, 2)) > 0, flags(j1=0)[0] > 0)


@pytest.mark.parametrize('xy', [(-0.1, 100.0), (192.0, 100.0), (100.0, -0.1), (100.0, 256.0), (-1e6, -1e6)])
def test_joint_outside_the_map(codec, joints, xy):
    joints[0, 7] = xy
    encoded = codec.encode(joints, flags(), flags())
    np.testing.assert_array_equal(encoded['keypoint_weights'], flags(j7=0))
    assert all(level[7].max() == 0 for level in encoded['heatmaps'])


def decode_with_loops(heatmaps):
    """CPN's rule, one joint and one step at a time."""
    keypoints, scores = [], []
    for raw in heatmaps.astype(np.float64):
        canvas = np.zeros((84, 68))
        canvas[10:74, 10:58] = raw / raw.max()
        canvas = cv2.GaussianBlur(canvas, (21, 21), 0)
        best = max((v, -i) for i, v in enumerate(canvas.flat))
        y, x = divmod(-best[1], 68)
        canvas[y, x] = 0
        second = max((v, -i) for i, v in enumerate(canvas.flat))
        dy, dx = np.subtract(divmod(-second[1], 68), (y, x))
        x, y = x - 10.0, y - 10.0
        distance = np.hypot(dx, dy)
        if distance > 1e-3:
            x, y = x + 0.25 * dx / distance, y + 0.25 * dy / distance
        x, y = min(max(x, 0), 47), min(max(y, 0), 63)
        keypoints.append((4 * x + 2, 4 * y + 2))
        scores.append(raw[int(y + 0.5), int(x + 0.5)] / 255 + 0.5)
    return np.array([keypoints]), np.array([scores])


@pytest.mark.parametrize('seed', range(5))
def test_decode_follows_the_written_rule(codec, seed):
    rng = np.random.RandomState(seed)
    maps = rng.normal(0, 60, (K, 64, 48)).astype(np.float32)
    for k in range(K):  # peaks everywhere, the border included
        maps[k, rng.randint(64), rng.randint(48)] += 3000
    maps[0, 0, 0], maps[1, 63, 47] = 5000, 5000
    maps[2] -= 400  # the padding outshines most of this map
    maps[3] = maps[2] / 1e5  # and of this one, with a maximum below one
    keypoints, scores = codec.decode(maps.copy())
    assert keypoints.shape == (1, K, 2) and scores.shape == (1, K)
    assert keypoints.dtype == np.float32
    expected_keypoints, expected_scores = decode_with_loops(maps)
    np.testing.assert_allclose(keypoints, expected_keypoints, atol=1e-4)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5)
    np.testing.assert_array_equal(codec.decode(maps / 1e4)[0], keypoints, 'however faint')


def test_decode_moves_a_quarter_cell_towards_the_second_highest(codec):
    maps = np.zeros((1, 64, 48), np.float32)
    maps[0, 30, 20:23] = 100, 255, 200
    keypoints, scores = codec.decode(maps)
    np.testing.assert_allclose(keypoints, [[[4 * 21.25 + 2, 4 * 30 + 2]]])
    np.testing.assert_allclose(scores, [[1.5]])


def test_decode_moves_by_as_much_towards_a_second_highest_that_is_far(codec):
    maps = np.zeros((1, 64, 48), np.float32)
    maps[0, 20, 10], maps[0, 40, 25] = 255, 254  # 15 right, 20 down
    keypoints, _ = codec.decode(maps)
    np.testing.assert_allclose(keypoints, [[[4 * (10 + 0.25 * 0.6) + 2, 4 * (20 + 0.25 * 0.8) + 2]]], rtol=1e-6)


def test_decode_leaves_its_input_alone(codec):
    maps = np.random.RandomState(0).rand(K, 64, 48).astype(np.float32)
    before = maps.copy()
    codec.decode(maps)
    np.testing.assert_array_equal(maps, before)


def test_decode_of_maps_without_a_positive_value(codec):
    """Beside one that has some, as joints of one person may be."""
    maps = np.zeros((5, 64, 48), np.float32)
    maps[1] = -5
    maps[2:4] = -100
    maps[2:5, 40, 30] = -1, 0, 255
    keypoints, scores = codec.decode(maps)
    np.testing.assert_array_equal(keypoints[0, :2], [[2, 2], [2, 2]])
    np.testing.assert_allclose(keypoints[0, 2:], [[122, 162]] * 3, atol=1)
    np.testing.assert_allclose(scores[0], 0.5 + np.array([0, -5, -1, 0, 255]) / 255, rtol=1e-6)


def test_round_trip(codec):
    rng = np.random.RandomState(0)
    joints = rng.uniform((12, 12), (180, 244), (1, K, 2))
    encoded = codec.encode(joints)
    keypoints, scores = codec.decode(encoded['heatmaps'][-1])
    # half a cell by rounding, a quarter in one direction by the decoder
    error = np.abs(keypoints - joints)[0] / 4
    assert (error <= 0.75).all()
    assert (np.sort(error, axis=-1)[:, 0] <= 0.5).all()
    # at the centre of a cell only the quarter is left
    centres = np.floor(joints / 4) * 4 + 2
    again, _ = codec.decode(codec.encode(centres)['heatmaps'][0])
    np.testing.assert_allclose(np.linalg.norm(again - centres, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(scores, 1.5, rtol=1e-5)


def test_softmax_heatmap_scores_a_joint_by_its_own_map():
    logits = np.random.default_rng(0).normal(0, 3, (3, 16, 12)).astype(np.float32)
    keypoints, scores = SoftmaxHeatmap((48, 64), (12, 16), sigma=2).decode(logits)
    assert scores.dtype == np.float32
    for k in range(3):
        y, x = np.unravel_index(logits[k].argmax(), (16, 12))
        assert np.abs(keypoints[0, k] / 4 - (x, y)).max() <= 0.25
        perfect = 1 / (2 * np.pi * 2**2)
        assert scores[0, k] == pytest.approx(min(1, softmax(logits[k]).max() / perfect), rel=1e-5)


@pytest.mark.parametrize('sigma', [1.5, 2, 3])
def test_softmax_heatmap_is_sure_of_a_perfect_map(sigma):
    """As sure as MMPose's heads are of theirs, whose thresholds of 0.2 and 0.3 hold for it too."""
    codec = SoftmaxHeatmap((192, 256), (48, 64), sigma=sigma, unbiased=True)
    maps = codec.encode(np.float32([[[24, 32] * codec.scale_factor]]))['heatmaps']
    with np.errstate(divide='ignore'):
        _, scores = codec.decode(np.log(maps))
        _, spread = codec.decode(np.log(maps) / 4)  # a Gaussian of twice the width
    assert scores.item() == pytest.approx(1, abs=0.03)
    assert spread.item() == pytest.approx(0.25, abs=0.01)


def test_a_kernel_of_one_cell_does_not_blur(joints):
    maps = CPNHeatmap(kernel_sizes=(1,), refine_kernel_size=1).encode(joints)['heatmaps']
    assert len(maps) == 2
    for level in maps:
        np.testing.assert_array_equal(np.sort(level.reshape(K, -1))[:, -2:], [[0, 255]] * K)


def test_a_heatmap_of_one_cell():
    codec = CPNHeatmap((4, 8), (1, 1))
    joints = np.float32([[[1, 7]]])
    np.testing.assert_array_equal(codec.decode(codec.encode(joints)['heatmaps'][-1])[0], [[[2, 4]]])


def test_other_strides():
    codec = CPNHeatmap((96, 128), (48, 64))
    joints = np.array([[[51.0, 33.0]]])
    keypoints, _ = codec.decode(codec.encode(joints)['heatmaps'][-1])
    assert np.abs(keypoints - joints).max() <= 0.75 * 2


@pytest.mark.parametrize('both', [True, False])
def test_packs_with_mmpose_transforms(joints, both):
    labelled, visible = flags(j5=0), flags(j5=0, j2=0)
    results = dict(
        img=np.zeros((256, 192, 3), np.uint8),
        keypoints=joints,
        keypoints_visible=np.stack([labelled, visible], axis=-1) if both else labelled,
        dataset_keypoint_weights=np.arange(K, dtype=np.float32),
    )
    target = GenerateTarget(encoder=dict(type='CPNHeatmap'), use_dataset_keypoint_weights=True)
    sample = PackPoseInputs()(target(results))['data_samples']

    assert isinstance(sample.gt_fields, MultilevelPixelData)
    assert sample.gt_fields.nlevel == 5
    coarse, refined = (sample.gt_fields[i].heatmaps for i in (0, 4))
    assert tuple(coarse.shape) == (K, 64, 48)
    np.testing.assert_array_equal(coarse.amax((1, 2)) > 0, (visible if both else labelled)[0] > 0)
    np.testing.assert_array_equal(refined.amax((1, 2)) > 0, labelled[0] > 0)
    np.testing.assert_array_equal(sample.gt_instance_labels.keypoint_weights, labelled * np.arange(K))


def test_errors(codec, joints):
    assert isinstance(KEYPOINT_CODECS.build(dict(type='CPNHeatmap')), CPNHeatmap)
    with pytest.raises(ValueError, match='^CPNHeatmap encodes one person at a time, got'):
        codec.encode(np.concatenate([joints, joints]))
    with pytest.raises(ValueError, match=r'\(15, 8\)'):
        CPNHeatmap(kernel_sizes=(15, 8))
    for name in ('input_size', 'heatmap_size'):
        for size in ((48, 0), (48, -1), (48, 64, 3)):
            with pytest.raises(ValueError, match=f'^{name} must be'):
                CPNHeatmap(**{name: size})
    for sizes in (dict(kernel_sizes=(15, -1)), dict(refine_kernel_size=0)):
        with pytest.raises(ValueError, match='^Kernel sizes must be odd and positive'):
            CPNHeatmap(**sizes)
    assert (codec.input_size, codec.heatmap_size) == ((192, 256), (48, 64))
