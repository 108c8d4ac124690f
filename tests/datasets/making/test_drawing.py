"""Drawn people: labels against geometry and against the painted pixels."""

import cv2
import numpy as np
import pytest

from exlpose_mm.datasets.making.drawing import (
    POSES,
    draw_person,
    draw_scene,
    label_person,
    place_person,
    pose_body,
    view_body,
)

SIZE = (160, 120)


@pytest.fixture(scope='module')
def scenes():
    return [draw_scene(np.random.default_rng((7, i)), SIZE) for i in range(60)]


@pytest.fixture(scope='module')
def bodies():
    rng = np.random.default_rng(3)
    return [pose_body(rng) for _ in range(300)]


def distance(body, start, end):
    return np.linalg.norm(body[start] - body[end])


def test_scene_is_an_image_of_one_to_three_people(scenes):
    assert all(image.shape == (SIZE[1], SIZE[0], 3) and image.dtype == np.uint8 for image, _ in scenes)
    assert {len(people) for _, people in scenes} == {1, 2, 3}


def test_people_stand_everywhere_across_the_frame(scenes):
    boxes = np.array([p['bbox'] for _, people in scenes for p in people])
    centres = (boxes[:, 0] + boxes[:, 2] / 2) / SIZE[0]
    assert centres.min() < 0.2 and centres.max() > 0.8


def test_joints_are_labelled_exactly_when_inside(scenes):
    keypoints = np.concatenate([p['keypoints'] for _, people in scenes for p in people])
    labelled = keypoints[:, 2] > 0
    assert set(keypoints[:, 2]) == {0, 2}
    assert (keypoints[~labelled] == 0).all()
    assert (keypoints[labelled, :2] >= 0).all()
    assert (keypoints[labelled, :2] <= np.array(SIZE) - 1).all()
    assert 0.85 < labelled.mean() < 1


def test_boxes_are_tight_around_labelled_joints_and_in_the_frame(scenes):
    for person in (person for _, people in scenes for person in people):
        x, y, w, h = person['bbox']
        joints = person['keypoints'][person['keypoints'][:, 2] > 0, :2]
        assert len(joints) >= 5
        assert (joints >= (x, y)).all() and (joints <= (x + w, y + h)).all()
        assert x >= 0 and y >= 0 and x + w <= SIZE[0] and y + h <= SIZE[1]
        assert w - np.ptp(joints[:, 0]) < 0.2 * SIZE[1]


def test_joints_lie_on_the_painted_person():
    rng = np.random.default_rng(5)
    for _ in range(20):
        image = np.zeros((240, 320, 3), np.float32)
        points, height = place_person(rng, (320, 240), 160)
        draw_person(rng, image, points, height)
        painted = cv2.dilate(np.uint8(image.any(2)), np.ones((5, 5)))
        label = label_person(points, height, (320, 240))
        x, y = label['keypoints'][label['keypoints'][:, 2] > 0, :2].astype(int).T
        assert painted[y, x].all()
        x, y, w, h = np.array(label['bbox']).astype(int)
        assert painted[y : y + h + 1, x : x + w + 1].sum() > 0.85 * painted.sum()


def test_a_front_view_shows_the_left_side_on_the_right():
    class Front:
        choice, normal, uniform = (staticmethod(lambda *args, **kwargs: 0) for _ in range(3))

    body = view_body(Front, pose_body(np.random.default_rng(0)))
    assert body['left_shoulder'][0] > body['right_shoulder'][0]
    assert body['nose'][2] > body['nape'][2]


@pytest.mark.parametrize('side', ['left', 'right'])
def test_limbs_have_human_proportions(bodies, side):
    for body in bodies:
        thigh = distance(body, f'{side}_hip', f'{side}_knee')
        assert 0.8 < distance(body, f'{side}_knee', f'{side}_ankle') / thigh < 1.25
        upper_arm = distance(body, f'{side}_shoulder', f'{side}_elbow')
        assert 0.7 < distance(body, f'{side}_elbow', f'{side}_wrist') / upper_arm < 1
        assert 0.5 < upper_arm / thigh < 0.9
        assert 0.6 < distance(body, 'head', 'neck') / upper_arm < 1.3


def test_left_and_right_are_symmetric_about_the_neck(bodies):
    for body in bodies:
        assert np.isclose(distance(body, 'left_shoulder', 'neck'), distance(body, 'right_shoulder', 'neck'))
        assert np.allclose(body['left_hip'] + body['right_hip'], 0)
        assert body['left_shoulder'][0] > body['neck'][0] > body['right_shoulder'][0]


def test_knees_bend_backwards_and_elbows_forwards(bodies):
    for body in bodies:
        for side in ('left_', 'right_'):
            hip, knee, ankle = (body[side + joint] for joint in ('hip', 'knee', 'ankle'))
            assert np.cross((knee - hip)[1:], (ankle - knee)[1:]) <= 1e-9
        assert body['head'][1] < body['neck'][1] < body['left_hip'][1]


@pytest.mark.parametrize('pose', POSES)
def test_every_pose_keeps_the_feet_lowest(pose, monkeypatch):
    monkeypatch.setattr('exlpose_mm.datasets.making.drawing.POSES', {pose: POSES[pose]})
    rng = np.random.default_rng(0)
    for _ in range(50):
        body = pose_body(rng)
        lowest = max(body, key=lambda name: body[name][1])
        assert lowest.endswith(('toe', 'ankle'))


def test_too_small_a_scene_is_refused():
    with pytest.raises(ValueError, match='64'):
        draw_scene(np.random.default_rng(0), (63, 100))


def test_a_given_number_of_people():
    counts = [len(draw_scene(np.random.default_rng(i), (160, 120), people=(2, 4))[1]) for i in range(30)]
    assert {*counts} == {2, 3, 4}


@pytest.mark.parametrize('people', [(0, 2), (3, 2)])
def test_a_number_of_people_that_cannot_be(people):
    with pytest.raises(ValueError, match='1 <= fewest <= most'):
        draw_scene(np.random.default_rng(0), (160, 120), people=people)
