"""Pairs of any keypoint data set: the labels, the pixels, and what goes wrong."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from exlpose_mm import ExLPoseDataset, SimulateLowLight
from exlpose_mm.camera.simulation import PRESETS
from exlpose_mm.datasets.annotations import person_category
from exlpose_mm.datasets.exlpose import DatasetError
from exlpose_mm.datasets.making.layout import write_file
from exlpose_mm.datasets.making.pairs import PairMakingError, Settings, joint_sources, make_pairs, plan
from exlpose_mm.joints import JOINTS

TOOL = Path(__file__).resolve().parents[3] / 'tools' / 'make_pairs.py'
COCO = [
    'nose',
    'left_eye',
    'right_eye',
    'left_ear',
    'right_ear',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hip',
    'right_hip',
    'left_knee',
    'right_knee',
    'left_ankle',
    'right_ankle',
]


def write_source(folder, count=4, joints=COCO, size=(40, 30)):
    """Photographs with one person each whose joint j lies at (j, 2 j) with visibility 2."""
    (folder / 'images').mkdir(parents=True)
    keypoints = np.array([[j, 2 * j, 2] for j in range(len(joints) or 14)]).ravel().tolist()
    images, annotations = [], []
    for i in range(count):
        picture = np.random.default_rng(i).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        cv2.imwrite(str(folder / 'images' / f'{i}.png'), picture)
        images.append(dict(id=10 * i, file_name=f'{i}.png', width=size[0], height=size[1]))
        annotations.append(
            dict(id=i, image_id=10 * i, category_id=1, bbox=[1, 2, 30, 20], iscrowd=0, keypoints=keypoints)
        )
    category = dict(id=1, name='person', keypoints=list(joints))
    content = dict(images=images, annotations=annotations, categories=[category])
    (folder / 'coco.json').write_text(json.dumps(content), encoding='utf-8')
    return content


@pytest.fixture
def source(tmp_path):
    write_source(tmp_path / 'source')
    return tmp_path / 'source'


def settings(source, **kwargs):
    return Settings(str(source / 'coco.json'), str(source / 'images'), **kwargs)


def edit(source, change):
    content = json.loads((source / 'coco.json').read_text(encoding='utf-8'))
    change(content)
    (source / 'coco.json').write_text(json.dumps(content), encoding='utf-8')


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob('*') if path.is_file()}


class TestResult:
    def test_the_dataset_reads_it(self, source, tmp_path):
        made, problems = make_pairs(settings(source, levels=('exlpose-hard',)), str(tmp_path / 'out'))
        assert (made, problems) == (4, [])
        dataset = ExLPoseDataset(ann_file='ExLPose_train_LL.json', data_root=str(tmp_path / 'out'))
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        assert len(infos) == 4
        for i, info in enumerate(infos):
            np.testing.assert_array_equal(
                cv2.imread(info['well_lit_path']), cv2.imread(str(source / 'images' / f'{i}.png'))
            )
            assert 0 <= cv2.imread(info['img_path']).mean() < 5
            assert info['bbox'].tolist() == [[1, 2, 31, 22]]
        assert (tmp_path / 'out' / 'brightPath2darkPath.txt').read_text(encoding='utf-8').splitlines()[1] == (
            'bright/train_000000000010_bright.png dark/train_000000000010_dark.png'
        )

    def test_levels_take_turns_and_are_rows_of_the_test_set(self, source, tmp_path):
        make_pairs(settings(source, split='test', levels=('normal', 'extreme')), str(tmp_path / 'out'))
        people = {
            row: [
                a['image_id']
                for a in json.loads(
                    (tmp_path / 'out' / 'Annotations' / f'ExLPose_test_{row}.json').read_text(encoding='utf-8')
                )['annotations']
            ]
            for row in ('LL-N', 'LL-E', 'LL-A', 'WL')
        }
        assert people == {'LL-N': [0, 20], 'LL-E': [10, 30], 'LL-A': [0, 10, 20, 30], 'WL': [0, 10, 20, 30]}
        dark = cv2.imread(str(tmp_path / 'out/ExLPose/dark/test_000000000010_dark.png'))
        want = SimulateLowLight('extreme', False).transform(
            dict(img=cv2.imread(str(source / 'images' / '1.png')), img_id=10)
        )['img']
        np.testing.assert_array_equal(dark, want)

    @pytest.mark.parametrize('levels', [('hard',), ((0.5, 4.0),)])
    def test_the_same_bytes_by_any_number_of_processes(self, source, tmp_path, levels):
        for workers in (0, 2):
            make_pairs(settings(source, levels=levels), str(tmp_path / str(workers)), workers)
        assert contents(tmp_path / '0') == contents(tmp_path / '2')

    def test_another_split_may_join(self, source, tmp_path):
        for split in ('train', 'test'):
            make_pairs(settings(source, split=split), str(tmp_path / 'out'))
        assert len((tmp_path / 'out' / 'brightPath2darkPath.txt').read_text(encoding='utf-8').splitlines()) == 8


class TestPersonHeight:
    def test_image_labels_and_noise(self, source, tmp_path):
        make_pairs(settings(source, levels=('exlpose-hard',), person_height=60), str(tmp_path / 'out'))
        bright, dark = (
            cv2.imread(str(tmp_path / f'out/ExLPose/{side}/train_000000000010_{side}.png'))
            for side in ('bright', 'dark')
        )
        photograph = cv2.imread(str(source / 'images' / '1.png'))
        np.testing.assert_array_equal(bright, cv2.resize(photograph, (120, 90), interpolation=cv2.INTER_CUBIC))
        want = SimulateLowLight('exlpose-hard', False).transform(dict(img=bright, img_id=10))['img']
        np.testing.assert_array_equal(dark, want)
        content = json.loads((tmp_path / 'out/Annotations' / 'ExLPose_train_LL.json').read_text(encoding='utf-8'))
        assert (content['images'][1]['width'], content['images'][1]['height']) == (120, 90)
        assert content['annotations'][1]['bbox'] == [3, 6, 90, 60]
        elbow = dict(zip(JOINTS, np.reshape(content['annotations'][1]['keypoints'], (14, 3)).tolist()))['left_elbow']
        assert elbow == [3 * 7.5 - 0.5, 3 * 14.5 - 0.5, 2]

    def test_an_unlabelled_joint_stays_at_the_origin(self, source):
        head = plan(settings(source, person_height=60))[0]['people'][0]['keypoints'][JOINTS.index('head')]
        assert head == [0, 0, 0]

    def test_frames_grow_to_the_area_of_exlposes_at_most(self, source):
        (task,) = {task['size'] for task in plan(settings(source, person_height=5000))}
        assert task[0] * task[1] == pytest.approx(1919 * 1198, rel=1e-3)
        assert task[0] / task[1] == pytest.approx(4 / 3, rel=1e-3)

    def test_the_median_of_several_people_counts(self, source):
        def crowd(content):
            for i, height in enumerate((10, 500)):
                extra = dict(content['annotations'][0], id=90 + i, bbox=[0, 0, 5, height])
                content['annotations'].append(extra)

        edit(source, crowd)
        assert plan(settings(source, person_height=10))[0]['size'] == (20, 15)

    @pytest.mark.parametrize('height', [0, -3.0, float('nan'), float('inf')])
    def test_a_wrong_height(self, source, height):
        with pytest.raises(PairMakingError, match='person_height is positive'):
            plan(settings(source, person_height=height))


class TestJoints:
    def test_coco(self, source, tmp_path):
        edit(source, lambda content: content['annotations'][0]['keypoints'].__setitem__(3 * 5 + 2, 1))
        edit(source, lambda content: content['annotations'][1]['keypoints'].__setitem__(3 * 6 + 2, 0))
        make_pairs(settings(source), str(tmp_path / 'out'))
        annotations = json.loads(
            (tmp_path / 'out' / 'Annotations' / 'ExLPose_train_LL.json').read_text(encoding='utf-8')
        )['annotations']
        first, second = (dict(zip(JOINTS, np.reshape(a['keypoints'], (14, 3)).tolist())) for a in annotations[:2])
        assert first['left_elbow'] == [7, 14, 2] and first['right_ankle'] == [16, 32, 2]
        assert first['neck'] == [5.5, 11, 1] and first['left_shoulder'] == [5, 10, 1]
        assert first['head'] == [0, 0, 0] and annotations[0]['num_keypoints'] == 13
        assert second['neck'] == [0, 0, 0] and annotations[1]['num_keypoints'] == 11

    @pytest.mark.parametrize('names', [JOINTS, [], JOINTS[::-1]])
    def test_fourteen_joints_by_name_or_in_order(self, names):
        sources = joint_sources([dict(keypoints=list(names))], 'x.json')
        assert [s[0] for s in sources] == (
            list(range(14)) if list(names) != list(JOINTS[::-1]) else list(range(14))[::-1]
        )

    def test_other_joints_are_refused(self):
        with pytest.raises(PairMakingError, match="x.json.*'left_shoulder'"):
            joint_sources([dict(keypoints=['nose', 'tail'])], 'x.json')


class TestCategories:
    """COCO files with more than people in them."""

    @staticmethod
    def mixed(content):
        """A dog first, with joints of its own; people of category 5; a crowd; boxes that cannot be."""
        (person,) = content['categories']
        person.update(id=5)
        dog = dict(id=2, name='dog', keypoints=['nose', 'tail'])
        content['categories'] = [dog, dict(id=3, name='lamp'), person]
        for annotation in content['annotations']:
            annotation['category_id'] = 5
        first = content['annotations'][0]
        content['annotations'] += [
            dict(first, id=90, category_id=2, keypoints=[3, 4, 2, 5, 6, 2]),
            dict(first, id=91, iscrowd=1),
            dict(first, id=92, bbox=[5, 5, 0, 0]),
            dict(first, id=93, bbox=[900, 5, 9, 9]),
            dict(first, id=94, bbox=None),
            dict(id=95, image_id=0, category_id=3, bbox=[1, 1, 2, 2]),
        ]

    def test_only_people_whom_the_data_set_takes_are_written(self, source, tmp_path):
        edit(source, self.mixed)
        assert make_pairs(settings(source), str(tmp_path / 'out')) == (4, [])
        path = tmp_path / 'out/Annotations/ExLPose_train_LL.json'
        written = json.loads(path.read_text(encoding='utf-8'))['annotations']
        assert [annotation['image_id'] for annotation in written] == [0, 10, 20, 30]
        for annotation in written:
            joints = dict(zip(JOINTS, np.reshape(annotation['keypoints'], (14, 3)).tolist()))
            assert joints['left_shoulder'] == [5, 10, 2] and joints['right_ankle'] == [16, 32, 2]
        for unlabelled in (False, True):
            assert len(ExLPoseDataset(data_root=str(tmp_path / 'out'), unlabelled=unlabelled)) == 4

    def test_what_is_left_out_is_said(self, source, monkeypatch):
        said = []
        monkeypatch.setattr(
            'exlpose_mm.datasets.making.pairs.MMLogger.get_current_instance',
            lambda: SimpleNamespace(warning=said.append),
        )
        edit(source, self.mixed)
        plan(settings(source))
        (line,) = said
        for part in (
            "2 annotations of another category than 'person' (the first is 90)",
            '1 annotations of crowds',
            '3 annotations that a data set would refuse (the first is 92 has a box without area: [5, 5, 0, ',
        ):
            assert part in line

    @pytest.mark.parametrize(
        'categories, found',
        [
            ([dict(id=1, name='dog'), dict(id=2, name='Person')], 2),
            ([dict(id=1, name='dog'), dict(id=2, name='pedestrian', keypoints=['neck'])], 2),
            ([dict(id=3, name='pedestrian')], 3),
        ],
    )
    def test_who_is_a_person(self, categories, found):
        assert person_category(categories, 'x.json')['id'] == found

    @pytest.mark.parametrize(
        'categories',
        [
            [dict(id=1, name='dog'), dict(id=2, name='pedestrian')],
            [dict(id=1, name='person'), dict(id=2, name='person')],
            [dict(name='person')],
        ],
    )
    def test_who_is_a_person_is_not_guessed(self, categories):
        with pytest.raises(DatasetError, match="x.json: which category are people.*'pe"):
            person_category(categories, 'x.json')


class TestBadInput:
    def test_images_are_reported_and_the_rest_is_made(self, tmp_path):
        source = tmp_path / 'source'
        write_source(source, count=6)
        (source / 'images' / '0.png').write_bytes(b'')
        (source / 'images' / '1.png').unlink()
        cv2.imwrite(str(source / 'images' / '2.png'), np.zeros((9, 9, 3), np.uint8))
        edit(source, lambda content: content['images'][3].update(file_name='../../secret.png'))
        made, problems = make_pairs(settings(source), str(tmp_path / 'out'), workers=2)
        assert made == 2 and len(problems) == 4
        for line, part in zip(
            problems, ('0.png: cannot read', '1.png: cannot read', '2.png: is 9 x 9', 'secret.png: .*leads out')
        ):
            assert re.search(part, line), line
        assert (tmp_path / 'out' / 'pairs_train.log').read_text(encoding='utf-8').splitlines() == problems
        assert len(ExLPoseDataset(ann_file='ExLPose_train_LL.json', data_root=str(tmp_path / 'out'))) == 2

    def test_a_mended_image_is_made_by_the_next_run(self, source, tmp_path):
        whole = (source / 'images' / '0.png').read_bytes()
        (source / 'images' / '0.png').write_bytes(whole[:50])
        assert make_pairs(settings(source), str(tmp_path / 'out'))[0] == 3
        (source / 'images' / '0.png').write_bytes(whole)
        assert make_pairs(settings(source), str(tmp_path / 'out')) == (4, [])

    @pytest.mark.parametrize('shape, dtype', [((30, 40), np.uint8), ((30, 40, 4), np.uint8), ((30, 40, 3), np.uint16)])
    def test_grey_transparent_and_16_bit_images_become_8_bit_colour(self, source, tmp_path, shape, dtype):
        cv2.imwrite(str(source / 'images' / '0.png'), np.full(shape, np.iinfo(dtype).max // 2, dtype))
        assert make_pairs(settings(source), str(tmp_path / 'out')) == (4, [])
        bright = cv2.imread(str(tmp_path / 'out/ExLPose/bright/train_000000000000_bright.png'), cv2.IMREAD_UNCHANGED)
        assert bright.shape == (30, 40, 3) and bright.dtype == np.uint8
        assert abs(int(bright[0, 0, 0]) - 127) <= 1

    @pytest.mark.parametrize(
        'change, message',
        [
            (lambda c: c.update(annotations=[]), 'no annotations'),
            (lambda c: c.pop('images'), 'no COCO annotation file'),
            (lambda c: c['images'][0].update(id='zero'), 'integers'),
            (lambda c: c['images'][0].update(id=10), 'different'),
            (lambda c: [a.update(keypoints=[]) for a in c['annotations']], 'no image has an annotated person'),
            (lambda c: c['annotations'][2].update(keypoints=[1, 2, 2]), 'annotation 2 has 1 keypoints'),
        ],
    )
    def test_annotation_files(self, source, tmp_path, change, message):
        edit(source, change)
        with pytest.raises(PairMakingError, match=f'coco.json.*{message}'):
            make_pairs(settings(source), str(tmp_path / 'out'))
        assert not (tmp_path / 'out').exists()

    @pytest.mark.parametrize('kwargs', [dict(split='val'), dict(seed=-1), dict(levels=())])
    def test_settings(self, source, tmp_path, kwargs):
        with pytest.raises(PairMakingError, match='split'):
            make_pairs(settings(source, **kwargs), str(tmp_path / 'out'))

    def test_two_settings_do_not_mix(self, source, tmp_path):
        make_pairs(settings(source), str(tmp_path / 'out'))
        with pytest.raises(PairMakingError, match='seed'):
            make_pairs(settings(source, seed=1), str(tmp_path / 'out'))
        edit(source, lambda content: content['annotations'][0].update(bbox=[0, 0, 9, 9]))
        with pytest.raises(PairMakingError, match='annotations'):
            make_pairs(settings(source), str(tmp_path / 'out'))


def test_other_data_are_not_touched(source, exlpose_root):
    before = contents(exlpose_root)
    with pytest.raises(PairMakingError, match='holds something else'):
        make_pairs(settings(source), str(exlpose_root))
    assert contents(exlpose_root) == before


def test_a_changed_camera_is_another_setting(source, tmp_path, monkeypatch):
    make_pairs(settings(source, levels=('exlpose-hard',)), str(tmp_path / 'out'))
    monkeypatch.setitem(PRESETS, 'exlpose-hard', PRESETS['exlpose-normal'])
    with pytest.raises(PairMakingError, match='cameras'):
        make_pairs(settings(source, levels=('exlpose-hard',)), str(tmp_path / 'out'))


def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch):
    def full(path, content):
        with open(path, 'wb') as file:
            file.write(content[:3])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(OSError, match='No space'):
        write_file(tmp_path / 'x.png', b'content')
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_goes_on(tmp_path):
    source = tmp_path / 'source'
    write_source(source, count=40, size=(400, 300))
    command = [
        sys.executable,
        str(TOOL),
        '--ann',
        str(source / 'coco.json'),
        '--images',
        str(source / 'images'),
        '--level',
        'hard',
        '--workers',
        '2',
        '--out',
    ]
    env = {**os.environ, 'OMP_NUM_THREADS': '1'}
    dark = tmp_path / 'killed' / 'ExLPose' / 'dark'
    process = subprocess.Popen(
        [*command, str(tmp_path / 'killed')], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and len(list(dark.glob('*.png')) if dark.exists() else []) < 3:
        time.sleep(0.01)
    process.kill()
    process.wait()
    time.sleep(0.5)  # for the workers to end with it
    before = {path: path.stat().st_mtime_ns for path in dark.glob('*.png')}
    assert 3 <= len(before) < 40
    for name in ('killed', 'whole'):
        subprocess.run([*command, str(tmp_path / name)], env=env, check=True, stdout=subprocess.DEVNULL)
    assert contents(tmp_path / 'killed') == contents(tmp_path / 'whole')
    assert {path: path.stat().st_mtime_ns for path in before} == before, 'nothing is made twice'


def test_a_worker_that_dies_ends_the_run(source, tmp_path, monkeypatch):
    monkeypatch.setattr('exlpose_mm.datasets.making.pairs.load_image', lambda path: os._exit(9))
    with pytest.raises(PairMakingError, match='worker process died'):
        make_pairs(settings(source), str(tmp_path / 'out'), workers=1)


def test_the_tool_fails_with_the_names_of_bad_images(source, tmp_path, capsys, monkeypatch):
    (source / 'images' / '2.png').unlink()
    spec = importlib.util.spec_from_file_location('make_pairs', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    args = ['--ann', str(source / 'coco.json'), '--images', str(source / 'images'), '--workers', '0']
    with pytest.raises(SystemExit, match='1 images have no pair:\n2.png: cannot read'):
        tool.main([*args, '--out', str(tmp_path / 'out'), '--level', '0.5,4', 'hard'])
    assert '3 pairs' in capsys.readouterr().out
    with pytest.raises(SystemExit, match="make_pairs: unknown darkness level 'dusk'"):
        tool.main([*args, '--out', str(tmp_path / 'other'), '--level', 'dusk'])
    with pytest.raises(SystemExit):
        tool.main([*args, '--out', str(tmp_path / 'other'), '--level', '1,x'])
    assert 'no range of numbers' in capsys.readouterr().err
