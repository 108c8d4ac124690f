"""Poses in anybody's images: sources, boxes, lightings, and the tool that ties them together."""

import importlib.util
import itertools
import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector
from mmengine.registry import DefaultScope
from mmpose.apis import inference_bottomup
from mmpose.structures import PoseDataSample
from test_detection import detector, detector_files  # noqa: F401 (fixtures)
from test_tools import DEMO, random_checkpoint
from test_transforms import image

from exlpose_mm.apis.detection import load_detector, people_in
from exlpose_mm.apis.frames import Source, SourceError, Writer
from exlpose_mm.apis.inference import (
    Predictions,
    boxes_from_file,
    draw,
    find_poses,
    finds_people,
    load_model,
    whole_image,
)
from exlpose_mm.engine.building import build_model, read_config
from exlpose_mm.engine.zoo import DETECTOR_CONFIG, DETECTOR_WEIGHTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    return random_checkpoint(DEMO, tmp_path_factory.mktemp('model') / 'model.pth')


@pytest.fixture(scope='module')
def model(checkpoint):
    return load_model(str(DEMO), checkpoint)


@pytest.fixture
def folder(tmp_path):
    """Two dark images and a bright one, a broken one, and a text."""
    path = tmp_path / 'night'
    path.mkdir()
    for i, high in enumerate((3, 4, 250)):
        cv2.imwrite(str(path / f'{i}.png'), image(i, high=high, size=(96, 128)))
    (path / '3.png').write_bytes((path / '0.png').read_bytes()[:100])
    (path / 'notes.txt').write_text('', encoding='utf-8')
    return path


def video(path, frames=5):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10, (128, 96))
    for i in range(frames):
        writer.write(np.full((96, 128, 3), 40 * i, np.uint8))
    writer.release()
    return path


def demo(*args, people=('--whole-image',)):
    spec = importlib.util.spec_from_file_location('demo_tool', ROOT / 'tools' / 'demo.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main([str(arg) for arg in (*args, *people)] + ['--device', 'cpu'])


class TestSource:
    def test_a_folder_a_pattern_and_a_file(self, folder):
        frames = list(Source(str(folder)))
        assert [frame.name for frame in frames] == ['0.png', '1.png', '2.png', '3.png']
        np.testing.assert_array_equal(frames[1].pixels(), cv2.imread(str(folder / '1.png')))
        with pytest.raises(SourceError, match='3.png'):
            frames[3].pixels()
        assert [frame.name for frame in Source(str(folder / '[01].*'))] == ['0.png', '1.png']
        assert len(Source(str(folder / '2.png'))) == 1

    def test_a_folder_with_a_pattern_in_its_name(self, folder):
        odd = folder.rename(folder.with_name('night [1]'))
        assert len(Source(str(odd))) == 4

    def test_a_video(self, tmp_path):
        source = Source(str(video(tmp_path / 'a.mp4')))
        frames = list(source)
        assert len(source) == len(frames) == 5 and source.rate == pytest.approx(10)
        assert [round(frame.image.mean() / 40) for frame in frames] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize(
        'name, message',
        [
            ('nothing.mp4', 'no file'),
            ('nothing.png', "no file or folder '.*nothing.png'$"),
            ('empty', 'no image in'),
            ('*.png', 'no image in'),
            ('77', 'webcam 77'),
        ],
    )
    def test_nothing_to_look_at(self, tmp_path, name, message):
        (tmp_path / 'empty').mkdir()
        with pytest.raises(SourceError, match=message):
            Source(name if name.isdigit() else str(tmp_path / name))

    def test_a_folder_whose_name_is_a_number(self, folder):
        numbered = folder.rename(folder.with_name('2023'))
        assert len(Source(str(numbered))) == 4

    def test_two_images_of_one_name(self, folder):
        cv2.imwrite(str(folder / '1.jpg'), image(high=3))
        with pytest.raises(SourceError, match='1.jpg and .*1.png'):
            Source(str(folder))

    def test_the_input_is_not_written_over(self, folder, tmp_path):
        with pytest.raises(SourceError, match='0.png would be written over'):
            Writer(folder, Source(str(folder)))
        with pytest.raises(SourceError, match='poses.mp4 would be written over'):
            Writer(tmp_path, Source(str(video(tmp_path / 'poses.mp4'))))

    def test_a_broken_video(self, tmp_path):
        (tmp_path / 'a.mp4').write_bytes(b'no video')
        with pytest.raises(SourceError, match='cannot be opened'):
            Source(str(tmp_path / 'a.mp4'))


class TestBoxes:
    def test_of_a_file(self, tmp_path):
        content = dict(
            images=[dict(id=7, file_name='dark/a.png'), dict(id=8, file_name='b.png')],
            annotations=[dict(image_id=7, bbox=[1, 2, 30, 40]), dict(image_id=7, bbox=[5, 5, 6, 6])],
        )
        (tmp_path / 'boxes.json').write_text(json.dumps(content), encoding='utf-8')
        boxes = boxes_from_file(str(tmp_path / 'boxes.json'))
        assert boxes(None, 'a.png').tolist() == [[1, 2, 31, 42], [5, 5, 11, 11]]
        assert boxes(None, 'b.png').shape == (0, 4)
        with pytest.raises(SourceError, match='c.png'):
            boxes(None, 'c.png')

    def test_of_two_images_of_one_name(self, tmp_path):
        content = dict(images=[dict(id=i, file_name=f'{i}/a.png') for i in range(2)], annotations=[])
        (tmp_path / 'boxes.json').write_text(json.dumps(content), encoding='utf-8')
        with pytest.raises(SourceError, match='0/a.png and 1/a.png'):
            boxes_from_file(str(tmp_path / 'boxes.json'))

    def test_crowds_and_other_categories_are_no_people(self, tmp_path):
        boxes = [
            dict(bbox=[i, 0, 9, 9], image_id=7, category_id=c, **more)
            for i, (c, more) in enumerate([(18, {}), (1, {}), (1, dict(iscrowd=1)), (1, dict(iscrowd=0)), (18, {})])
        ]
        content = dict(
            images=[dict(id=7, file_name='a.png')],
            annotations=boxes,
            categories=[dict(id=18, name='dog'), dict(id=1, name='person')],
        )
        (tmp_path / 'boxes.json').write_text(json.dumps(content), encoding='utf-8')
        assert boxes_from_file(str(tmp_path / 'boxes.json'))(None, 'a.png').tolist() == [[1, 0, 10, 9], [3, 0, 12, 9]]
        content['categories'][1]['name'] = 'cat'
        (tmp_path / 'boxes.json').write_text(json.dumps(content), encoding='utf-8')
        with pytest.raises(SourceError, match='which category are people'):
            boxes_from_file(str(tmp_path / 'boxes.json'))

    @pytest.mark.parametrize(
        'box, message',
        [
            ([5, 5, 5, 20], 'without area'),
            ([20, 5, 10, 20], 'without area'),
            ([200, 5, 220, 20], 'outside its frame'),
            ([-20, 5, 0, 20], 'outside its frame'),
            ([0, 0, np.nan, 5], 'no box of four numbers'),
            ([0, 0, np.inf, 5], 'no box of four numbers'),
            ([0, 0, 1e9, 1e9], 'more than 20 times its frame'),
        ],
    )
    def test_that_nobody_can_be_in(self, model, box, message):
        with pytest.raises(SourceError, match=f'a person has .*{message}'):
            find_poses(model, image(high=3, size=(96, 128)), np.float32([[1, 1, 60, 60], box]))

    @pytest.mark.parametrize('content', ['[]', '{"images": []}', 'no json'])
    def test_of_another_file(self, tmp_path, content):
        (tmp_path / 'boxes.json').write_text(content, encoding='utf-8')
        with pytest.raises(SourceError, match='no COCO annotation file'):
            boxes_from_file(str(tmp_path / 'boxes.json'))

    def test_the_detector_sees_the_dark_brightened(self, detector, monkeypatch):  # noqa: F811
        seen = []
        monkeypatch.setattr(
            'exlpose_mm.apis.detection.inference_detector',
            lambda d, img: seen.append(img.mean()) or inference_detector(d, img),
        )
        for high in (3, 250):
            people_in(detector, image(high=high))
        assert seen[0] == pytest.approx(102, abs=12) and seen[1] == image(high=250).mean()

    def test_boxes_have_two_corners(self, monkeypatch):
        monkeypatch.setattr('exlpose_mm.apis.detection._people', lambda *_: [([1.0, 2.0, 3.0, 4.0], 0.9)])
        assert people_in(None, image(high=3)).tolist() == [[1, 2, 4, 6]]

    def test_nobody(self, detector):  # noqa: F811
        assert people_in(detector, image(high=4, size=(96, 128)), score_thr=1.1).shape == (0, 4)

    def test_nobody_is_in_a_picture_without_light(self):
        found = people_in(load_detector(DETECTOR_CONFIG, DETECTOR_WEIGHTS), np.zeros((720, 1080, 3), np.uint8))
        assert found.shape == (0, 4)


class TestLighting:
    def test_is_read_from_the_image_or_forced(self, model, checkpoint):
        dark, lit = image(high=3, size=(96, 128)), image(high=250, size=(96, 128))
        box = whole_image(dark, '')
        forced = load_model(str(DEMO), checkpoint, lighting='well_lit')
        for estimator, img, want in ((model, dark, 'low_light'), (model, lit, 'well_lit'), (forced, dark, 'well_lit')):
            assert find_poses(estimator, img, box).lighting == want

    def test_of_each_person_is_written_and_decides_what_is_drawn(self, model):
        """A lamp shines on one of two people."""
        frame = image(high=3, size=(96, 128))
        frame[10:90, 70:120] += 90
        boxes = np.float32([[5, 10, 55, 90], [70, 10, 120, 90]])
        poses = find_poses(model, frame, boxes)
        predictions = Predictions(model.dataset_meta)
        predictions.add('a.png', frame, poses)
        assert [person['lighting'] for person in predictions.content['annotations']] == ['low_light', 'well_lit']
        assert draw(frame, poses, model.dataset_meta).shape[1] == 2 * 128
        assert draw(frame, find_poses(model, frame, boxes[1:]), model.dataset_meta).shape[1] == 128

    def test_of_one_frame_may_be_given(self, model):
        dark = image(high=3, size=(96, 128))
        forced = find_poses(model, dark, whole_image(dark, ''), 'well_lit')
        assert forced.pred_instances.lighting == ['well_lit']
        assert draw(dark, forced, model.dataset_meta).shape[1] == 128
        assert find_poses(model, dark, whole_image(dark, '')).pred_instances.lighting == ['low_light']

    def test_unknown(self, checkpoint):
        with pytest.raises(ValueError, match="'dim'"):
            load_model(str(DEMO), checkpoint, lighting='dim')

    def test_forced_upon_a_config_that_does_not_ask(self, tmp_path):
        config = tmp_path / 'plain.py'
        config.write_text("test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImage')]))", encoding='utf-8')
        with pytest.raises(ValueError, match='plain.py has no TagLighting'):
            load_model(str(config), 'none.pth', lighting='well_lit')


def test_a_config_of_mmpose_by_its_name(tmp_path):
    name = 'mmpose::body_2d_keypoint/topdown_heatmap/coco/td-hm_mobilenetv2_8xb64-210e_coco-256x192.py'
    model = build_model(read_config(name).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'stock.pth')
    loaded = load_model(name, str(tmp_path / 'stock.pth'))
    assert loaded.dataset_meta['num_keypoints'] == 17
    assert torch.equal(loaded.backbone.conv1.conv.weight, model.backbone.conv1.conv.weight)


def test_nobody_gives_no_poses(model):
    poses = find_poses(model, image(high=3), np.zeros((0, 4)))
    assert 'pred_instances' not in poses
    np.testing.assert_array_equal(draw(image(high=250), poses, model.dataset_meta), image(high=250))


def test_a_dark_frame_is_shown_lifted_beside_itself(model):
    frame = image(high=3, size=(96, 128))
    drawn = draw(frame, PoseDataSample(), model.dataset_meta)
    assert drawn.shape == (96, 256, 3)
    np.testing.assert_array_equal(drawn[:, :128], frame)
    assert drawn[:, 128:].mean() > 50


def test_predictions_are_a_coco_file(model):
    frame = image(high=3, size=(96, 128))
    poses = find_poses(model, frame, np.float32([[10, 10, 60, 90], [50, 5, 120, 90]]))
    predictions = Predictions(model.dataset_meta)
    predictions.add('a.png', frame, poses)
    predictions.add('b.png', frame, PoseDataSample())
    content = json.loads(json.dumps(predictions.content))
    assert [img['file_name'] for img in content['images']] == ['a.png', 'b.png']
    first, second = content['annotations']
    assert first['image_id'] == second['image_id'] == 1 and second['bbox'] == [50, 5, 70, 85]
    assert len(content['categories'][0]['keypoints']) == 14
    found = np.reshape(first['keypoints'], (14, 3))
    np.testing.assert_allclose(found[:, :2], poses.pred_instances.keypoints[0], atol=1e-3)
    assert first['score'] == pytest.approx(found[:, 2].mean(), abs=1e-3)


def test_a_video_keeps_its_size_when_the_light_goes_on(tmp_path):
    writer = Writer(tmp_path / 'out', Source(str(video(tmp_path / 'a.mp4'))))
    for width in (128, 64):
        writer.write('', np.zeros((96, width, 3), np.uint8))
    writer.close()
    assert [frame.image.shape for frame in Source(str(tmp_path / 'out' / 'poses.mp4'))] == [(96, 128, 3)] * 2


def test_predictions_that_are_not_numbers(checkpoint):
    broken = load_model(str(DEMO), checkpoint)
    for parameter in broken.head.parameters():
        parameter.data.fill_(float('nan'))
    frame = image(high=3, size=(96, 128))
    with pytest.raises(SourceError, match='not numbers'):
        find_poses(broken, frame, whole_image(frame, ''))


class TestWithoutBoxes:
    """A bottom-up model, which finds the people itself."""

    CONFIG = ROOT / 'configs/bottomup/dual-teacher_dekr_r18_1xb8-12e_demo-96x96.py'

    @pytest.fixture(scope='class')
    def weights(self, tmp_path_factory):
        """Random, but for maps of joints and centres about a score of a half."""
        with DefaultScope.overwrite_default_scope('mmpose'):
            path = random_checkpoint(self.CONFIG, tmp_path_factory.mktemp('bottomup') / 'model.pth')
        checkpoint = torch.load(path)
        last = {name: value for name, value in checkpoint['state_dict'].items() if 'heatmap_conv_layers.2' in name}
        for name, value in last.items():
            torch.nn.init.constant_(value, 0.5) if name.endswith('bias') else torch.nn.init.normal_(value, std=0.1)
        assert len(last) == 4, 'of the network and its momentum teacher'
        torch.save(checkpoint, path)
        return path

    @pytest.fixture(scope='class')
    def bottomup(self, weights):
        return load_model(str(self.CONFIG), weights)

    @pytest.fixture
    def frame(self):
        return image(high=3, size=(96, 128))

    def test_people_are_mmposes(self, bottomup, frame, model):
        assert finds_people(bottomup) and not finds_people(model)
        (wanted,) = inference_bottomup(bottomup, frame)
        found = find_poses(bottomup, frame).pred_instances
        assert len(found) > 1 and found.lighting == ['low_light'] * len(found)
        np.testing.assert_array_equal(found.keypoints, wanted.pred_instances.keypoints)
        np.testing.assert_array_equal(found.bboxes[:, 2:], found.keypoints.max(axis=1))
        np.testing.assert_array_equal(found.bboxes[:, :2], found.keypoints.min(axis=1))

    def test_only_sure_ones(self, bottomup, frame):
        scores = find_poses(bottomup, frame).pred_instances.keypoint_scores.mean(axis=1)
        threshold = float(np.sort(scores)[-2])
        assert len(find_poses(bottomup, frame, score_thr=threshold).pred_instances) == 2
        assert 'pred_instances' not in find_poses(bottomup, frame, score_thr=2.0)

    def test_a_score_of_their_box_goes_first(self, bottomup, frame, monkeypatch):
        def of_a_single_stage(*_):
            (sample,) = inference_bottomup(bottomup, frame)
            found = sample.pred_instances
            found.bbox_scores = np.linspace(1.0, 0.0, len(found))
            found.bboxes = np.full((len(found), 4), 7.0)
            return [sample]

        monkeypatch.setattr('exlpose_mm.apis.inference.inference_bottomup', of_a_single_stage)
        found = find_poses(bottomup, frame, score_thr=0.99).pred_instances
        assert len(found) == 1 and found.bboxes.tolist() == [[7.0] * 4]

    def test_what_is_no_number_is_not_taken_for_unsure(self, weights, frame):
        broken = load_model(str(self.CONFIG), weights)
        broken.head.head.heatmap_conv_layers[2].bias.data.fill_(float('inf'))
        with pytest.raises(SourceError, match='not numbers'):
            find_poses(broken, frame, score_thr=0.3)

    def test_boxes_are_of_the_other_kind(self, bottomup, frame, model):
        with pytest.raises(ValueError, match='LightingBottomupPoseEstimator finds people by itself'):
            find_poses(bottomup, frame, whole_image(frame, ''))
        with pytest.raises(ValueError, match="LightingPoseEstimator needs people's boxes"):
            find_poses(model, frame)

    def test_the_tool_needs_no_boxes(self, folder, weights, tmp_path, capsys):
        (folder / '3.png').unlink()
        demo(folder, self.CONFIG, weights, '--out', tmp_path / 'out', people=())
        content = json.loads((tmp_path / 'out' / 'predictions.json').read_text(encoding='utf-8'))
        assert {person['image_id'] for person in content['annotations']} == {1, 2, 3}
        assert f'{len(content["annotations"])} people in 3 frames' in capsys.readouterr().out

    @pytest.mark.parametrize('people', [('--boxes', 'boxes.json'), ('--whole-image',), ('--detector', 'a', 'b')])
    def test_the_tool_refuses_boxes(self, folder, weights, tmp_path, people):
        message = 'finds people by itself: leave --boxes, --detector and --whole-image out'
        with pytest.raises(SystemExit, match=message):
            demo(folder, self.CONFIG, weights, '--out', tmp_path / 'out', people=people)


def kill_after(frames, name):
    """A stand-in for :func:`draw` that sends a signal to this process at some frame."""
    seen = []

    def draw_and_die(frame, *_):
        seen.append(1)
        if len(seen) == frames:
            signal.raise_signal(getattr(signal, name))
        return frame

    return draw_and_die


@pytest.fixture
def heeds_ctrl_c():
    """Python's own handler, which a process in the background of a shell does not get."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class TestTool:
    def test_what_a_folder_holds_besides_is_named(self, folder, checkpoint, tmp_path):
        (folder / '3.png').unlink()
        for name in ('a.HEIC', 'b.gif', 'c.mp4'):
            (folder / name).write_bytes(b'')
        with pytest.raises(SystemExit, match='3 images were left out:\n.*a.HEIC: not read.*\n.*b.gif.*\n.*c.mp4'):
            demo(folder, DEMO, checkpoint, '--out', tmp_path / 'out')
        assert len(json.loads((tmp_path / 'out' / 'predictions.json').read_text(encoding='utf-8'))['images']) == 3

    def test_sixteen_bits_are_left_out_not_black(self, folder, checkpoint, tmp_path):
        cv2.imwrite(str(folder / '3.png'), image(high=200).astype(np.uint16))
        with pytest.raises(SystemExit, match='1 images were left out:\n3.png: .*more than 8 bits'):
            demo(folder, DEMO, checkpoint, '--out', tmp_path / 'out')

    def test_a_box_that_cannot_be_leaves_out_its_image_alone(self, folder, checkpoint, tmp_path):
        content = dict(
            images=[dict(id=i, file_name=f'{i}.png') for i in range(4)],
            annotations=[dict(image_id=0, bbox=[0, 0, 1e9, 1e9]), dict(image_id=1, bbox=[9, 9, 30, 50])],
        )
        (tmp_path / 'boxes.json').write_text(json.dumps(content), encoding='utf-8')
        with pytest.raises(SystemExit, match='2 images were left out:\n0.png: a person has a box of more than 20 t'):
            demo(folder, DEMO, checkpoint, '--out', tmp_path / 'out', people=('--boxes', tmp_path / 'boxes.json'))
        (person,) = json.loads((tmp_path / 'out' / 'predictions.json').read_text(encoding='utf-8'))['annotations']
        assert person['bbox'] == [9, 9, 30, 50]

    def test_a_name_that_is_not_utf_8(self, folder, checkpoint, tmp_path, capfd):
        name = os.fsdecode(b'night \xff.png')
        (folder / '3.png').unlink()
        os.rename(folder / '2.png', folder / name)
        out = tmp_path / os.fsdecode(b'out \xfe')
        demo(folder, DEMO, checkpoint, '--out', out)
        content = json.loads((out / 'predictions.json').read_text(encoding='utf-8'))
        assert [img['file_name'] for img in content['images']] == ['0.png', '1.png', name]
        assert (out / name).stat().st_size > 1000

    def test_a_video_whose_name_is_not_utf_8(self, checkpoint, tmp_path):
        odd = tmp_path / os.fsdecode(b'\xff.mp4')
        video(tmp_path / 'a.mp4').rename(odd)
        with pytest.raises(SystemExit, match='is not UTF-8; rename the video'):
            demo(odd, DEMO, checkpoint, '--out', tmp_path / 'out')
        with pytest.raises(SystemExit, match='is not UTF-8; name another folder'):
            demo(video(tmp_path / 'a.mp4'), DEMO, checkpoint, '--out', tmp_path / os.fsdecode(b'\xff'))

    @pytest.mark.usefixtures('heeds_ctrl_c')
    @pytest.mark.parametrize('name, code', [('SIGTERM', 143), ('SIGINT', None)])
    def test_what_was_found_stays_when_it_is_stopped(self, checkpoint, tmp_path, monkeypatch, name, code):
        monkeypatch.setattr('exlpose_mm.apis.inference.draw', kill_after(3, name))
        before = signal.getsignal(signal.SIGTERM)
        arguments = video(tmp_path / 'a.mp4'), DEMO, checkpoint, '--out', tmp_path / 'out'
        if code:
            with pytest.raises(SystemExit) as stopped:
                demo(*arguments)
            assert stopped.value.code == code
        else:
            demo(*arguments)
        assert signal.getsignal(signal.SIGTERM) is before
        content = json.loads((tmp_path / 'out' / 'predictions.json').read_text(encoding='utf-8'))
        assert len(content['images']) == len(content['annotations']) == 3
        assert 2 <= len(list(Source(str(tmp_path / 'out' / 'poses.mp4')))) <= 3

    def test_what_was_found_is_written_on_the_way(self, checkpoint, tmp_path, monkeypatch):
        """Each frame takes six seconds, by the clock that the tool sees; results are due every ten."""
        clock = itertools.count(0, 3)
        monkeypatch.setattr('time.monotonic', lambda: next(clock))
        on_disk = []

        def look(frame, *_):
            path = tmp_path / 'out' / 'predictions.json'
            on_disk.append(len(json.loads(path.read_text(encoding='utf-8'))['images']) if path.exists() else 0)
            return frame

        monkeypatch.setattr('exlpose_mm.apis.inference.draw', look)
        demo(video(tmp_path / 'a.mp4', frames=7), DEMO, checkpoint, '--out', tmp_path / 'out')
        assert on_disk[0] == 0 and 3 <= max(on_disk) < 7
        assert len(json.loads((tmp_path / 'out' / 'predictions.json').read_text(encoding='utf-8'))['images']) == 7

    def test_the_lighting_is_said_and_may_be_forced(self, folder, checkpoint, tmp_path, capsys):
        (folder / '3.png').unlink()
        written = tmp_path / 'out' / 'predictions.json'
        for options, wanted in (
            ([], ['low_light', 'low_light', 'well_lit']),
            (['well_lit'], ['well_lit'] * 3),
            (['well_lit', '1.png=low_light'], ['well_lit', 'low_light', 'well_lit']),
            (['2.png=low_light'], ['low_light'] * 3),
        ):
            demo(folder, DEMO, checkpoint, '--out', tmp_path / 'out', *(f'--lighting={option}' for option in options))
            found = [person['lighting'] for person in json.loads(written.read_text(encoding='utf-8'))['annotations']]
            assert found == wanted
            dark, lit = (wanted.count(name) for name in ('low_light', 'well_lit'))
            said = capsys.readouterr().out
            assert f'3 people in 3 frames, {dark} taken to be low_light, {lit} taken to be well_lit' in said

    @pytest.mark.parametrize(
        'option, message', [('dim', "'dim' is not one of"), ('9.png=low_light', 'no such image was read')]
    )
    def test_a_lighting_that_cannot_be_forced(self, folder, checkpoint, tmp_path, option, message, capsys):
        (folder / '3.png').unlink()
        with pytest.raises(SystemExit) as stopped:
            demo(folder, DEMO, checkpoint, '--out', tmp_path / 'out', '--lighting', option)
        assert message in f'{stopped.value} {capsys.readouterr().err}'

    def test_a_negative_number_of_frames(self, folder, checkpoint, capsys):
        with pytest.raises(SystemExit):
            demo(folder, DEMO, checkpoint, '--num', '-1')
        assert '-1 is negative' in capsys.readouterr().err

    def test_a_folder_with_a_broken_image(self, folder, checkpoint, tmp_path):
        with pytest.raises(SystemExit, match='1 images were left out:\n.*3.png'):
            demo(folder, DEMO, checkpoint, '--out', tmp_path / 'out')
        content = json.loads((tmp_path / 'out' / 'predictions.json').read_text(encoding='utf-8'))
        assert [img['file_name'] for img in content['images']] == ['0.png', '1.png', '2.png']
        assert len(content['annotations']) == 3
        assert [cv2.imread(str(tmp_path / 'out' / f'{i}.png')).shape[1] for i in range(3)] == [256, 256, 128]

    def test_a_video(self, checkpoint, tmp_path):
        demo(
            video(tmp_path / 'a.mp4'),
            DEMO,
            checkpoint,
            '--out',
            tmp_path / 'out',
            '--num',
            3,
            '--lighting',
            'low_light',
        )
        assert len(Source(str(tmp_path / 'out' / 'poses.mp4'))) == 3

    def test_a_detector(self, folder, checkpoint, detector_files, tmp_path):  # noqa: F811
        people = ('--detector', *detector_files, '--score-thr', 0.05)
        demo(folder / '0.png', DEMO, checkpoint, '--out', tmp_path, people=people)
        content = json.loads((tmp_path / 'predictions.json').read_text(encoding='utf-8'))
        assert len(content['annotations']) > 1

    def test_a_detector_of_another_model(self, folder, checkpoint, detector_files, tmp_path):  # noqa: F811
        people = ('--detector', detector_files[0], checkpoint)
        with pytest.raises(SystemExit, match='demo: .* is not of this model'):
            demo(folder / '0.png', DEMO, checkpoint, '--out', tmp_path, people=people)

    def test_nothing_is_said_of_people_where_nothing_could_be_read(self, tmp_path, capsys):
        cv2.imwrite(str(tmp_path / 'deep.png'), np.ones((64, 64, 3), np.uint16))
        with pytest.raises(SystemExit, match='1 images were left out:\n.*8 bits'):
            demo(tmp_path / 'deep.png', '--out', tmp_path / 'out', people=())
        assert 'nobody was found' not in capsys.readouterr().out

    @pytest.mark.parametrize('source, message', [('nowhere', 'no file or folder'), ('nowhere.mp4', 'no file')])
    def test_an_input_that_is_not_there(self, source, message, checkpoint, tmp_path):
        with pytest.raises(SystemExit, match=f'demo: {message}'):
            demo(tmp_path / source, DEMO, checkpoint)
