"""ExLPose's training people as a list with one entry a person, read everywhere as any other annotation file."""

import json
import runpy

import cv2
import numpy as np
import pytest
from conftest import HEIGHT, WIDTH
from mmengine.config import Config
from test_configs import ROOT, load

from exlpose_mm import ExLPoseDataset, LightingCocoMetric
from exlpose_mm.apis.detection import as_annotations, list_images
from exlpose_mm.apis.inference import boxes_from_file
from exlpose_mm.datasets.crop_cache import build, verify
from exlpose_mm.datasets.files import DatasetError, MissingFileError
from exlpose_mm.datasets.making.pairs import PairMakingError, Settings, make_pairs
from exlpose_mm.datasets.reading import read_annotations
from exlpose_mm.datasets.release_check import Known, check_release, complete
from exlpose_mm.engine.building import build_uncached
from exlpose_mm.joints import JOINTS

NAN = float('nan')
NAME = 'ExLPose_train_trans.json'


def entries(content):
    """A COCO-style file's content as a list of people."""
    names = {image['id']: image['file_name'] for image in content['images']}
    people = []
    for person in content['annotations']:
        x, y, w, h = person['bbox']
        unit = dict(num_keypoints=person['num_keypoints'], keypoints=person['keypoints'], GT_bbox=[x, y, x + w, y + h])
        info = dict(imgID=person['image_id'], img_paths=names[person['image_id']])
        people.append(dict(unit=unit, imgInfo=info, score=1))
    return people


@pytest.fixture
def coco(exlpose_root):
    """What the training file of well-lit images holds."""
    return json.loads((exlpose_root / 'Annotations/ExLPose_train_WL.json').read_text(encoding='utf-8'))


@pytest.fixture
def root(exlpose_root, coco):
    """A release whose training people are in a list alone."""
    for name in ('LL', 'WL'):
        (exlpose_root / f'Annotations/ExLPose_train_{name}.json').unlink()
    (exlpose_root / 'Annotations' / NAME).write_text(json.dumps(entries(coco)), encoding='utf-8')
    return exlpose_root


def change(root, index, edit):
    path = root / 'Annotations' / NAME
    people = json.loads(path.read_text(encoding='utf-8'))
    edit(people[index])
    path.write_text(json.dumps(people), encoding='utf-8')


def samples(root, ann_file, lighting, **kwargs):
    dataset = ExLPoseDataset(lighting, ann_file, str(root), **kwargs)
    return [dataset.get_data_info(i) for i in range(len(dataset))]


class TestDataset:
    def test_has_the_labels_that_are_written(self, root):
        """The file by hand: one person, corners (30, 20) and (70, 90)."""
        name = sorted(path.name for path in (root / 'ExLPose/bright').iterdir())[-1]
        keypoints = [33.5, 22, 2, 0, 0, 0, *(12 * [50, 60, 1])]
        unit = dict(keypoints=keypoints, GT_bbox=[30, 20, 70.5, 90], num_keypoints=99)
        people = [dict(imgInfo=dict(imgID=7, img_paths=f'bright/{name}'), unit=unit, score=1.0)]
        (root / NAME).write_text(json.dumps(people), encoding='utf-8')
        (person,) = samples(root, str(root / NAME), 'paired')
        assert person['bbox'].tolist() == [[30, 20, 70.5, 90]] and person['img_id'] == 7 and person['id'] == 0
        assert person['well_lit_path'].endswith(f'bright/{name}') and '/dark/' in person['img_path']
        assert person['keypoints'][0, 0].tolist() == [33.5, 22] and person['num_keypoints'] == 13
        assert person['keypoints_visible'][0, :3].tolist() == [[1, 1], [0, 0], [1, 0]]
        assert person['split'] == 'LL'

    @pytest.mark.parametrize('lighting', ['paired', 'low_light', 'well_lit'])
    @pytest.mark.parametrize('asked', ['ExLPose_train_LL.json', 'ExLPose_train_WL.json', NAME])
    def test_is_that_of_the_other_form(self, root, coco, lighting, asked):
        (root / 'own.json').write_text(json.dumps(coco), encoding='utf-8')
        listed, wanted = samples(root, asked, lighting), samples(root, str(root / 'own.json'), lighting)
        assert len(listed) == len(wanted) == 6
        for ours, theirs in zip(listed, wanted):
            np.testing.assert_array_equal(ours['bbox'], theirs['bbox'])
            np.testing.assert_array_equal(ours['keypoints'], theirs['keypoints'])
            np.testing.assert_array_equal(ours['keypoints_visible'], theirs['keypoints_visible'])
            assert ours['img_path'] == theirs['img_path'] and ours['img_id'] == theirs['img_id']

    def test_is_found_after_the_training_file_that_is_asked_for(self, root, coco):
        (root / 'Annotations/ExLPose_train_LL.json').write_text(
            json.dumps(dict(coco, annotations=coco['annotations'][:1])), encoding='utf-8'
        )
        assert len(samples(root, 'ExLPose_train_LL.json', 'paired')) == 1
        assert len(samples(root, 'ExLPose_train_WL.json', 'paired')) == 6

    def test_that_is_nowhere_names_what_there_is(self, root):
        (root / 'Annotations' / NAME).unlink()
        with pytest.raises(MissingFileError, match=rf'(?s)train_LL.*{NAME}.*There is .*ExLPose_test_LL-A.json, '):
            samples(root, 'ExLPose_train_LL.json', 'paired')

    def test_of_unlabelled_people(self, root):
        change(root, 0, lambda person: person['unit'].update(keypoints=[]))
        assert len(samples(root, NAME, 'paired')) == 5
        assert len(samples(root, NAME, 'paired', unlabelled=True)) == 6

    def test_takes_detections(self, root, tmp_path):
        found = [dict(image_id=100, category_id=1, bbox=[1, 2, 30, 40], score=0.5)]
        (tmp_path / 'boxes.json').write_text(json.dumps(found), encoding='utf-8')
        options = dict(test_mode=True, bbox_file=str(tmp_path / 'boxes.json'))
        (person,) = samples(root, NAME, 'well_lit', **options)
        assert person['bbox'].tolist() == [[1, 2, 31, 42]] and person['img_path'].endswith('.png')
        found[0]['image_id'] = 5
        (tmp_path / 'boxes.json').write_text(json.dumps(found), encoding='utf-8')
        with pytest.raises(DatasetError, match=f'1 image ids, such as 5, are not in {root}/Annotations/{NAME}'):
            samples(root, NAME, 'well_lit', **options)

    def test_without_its_images(self, root):
        (root / 'ExLPose/bright').rename(root / 'elsewhere')
        with pytest.raises(DatasetError, match='bright'):
            samples(root, NAME, 'well_lit')


class TestEntry:
    @pytest.mark.parametrize(
        'edit, message',
        [
            (lambda p: p.pop('imgInfo'), 'has the imgInfo.imgID None'),
            (lambda p: p.update(imgInfo=[1]), 'has the imgInfo.imgID None'),
            (lambda p: p['imgInfo'].update(imgID='a7'), "has the imgInfo.imgID 'a7', which is no whole number"),
            (lambda p: p['imgInfo'].update(imgID=1.5), 'has the imgInfo.imgID 1.5'),
            (lambda p: p['imgInfo'].pop('img_paths'), 'has the imgInfo.img_paths None'),
            (
                lambda p: p['imgInfo'].update(img_paths='bright/x.png'),
                'imgInfo.imgID 102 of another image, bright/imgs_',
            ),
            (lambda p: p.pop('unit'), 'has the unit.keypoints None'),
            (lambda p: p['unit'].update(keypoints=7), 'has the unit.keypoints 7'),
            (lambda p: p['unit'].update(GT_bbox=[1, 2, 3]), r'no unit.GT_bbox of four numbers .*: \[1, 2, 3\]'),
            (lambda p: p['unit'].update(GT_bbox=[1, 2, 3, NAN]), 'no unit.GT_bbox of four numbers'),
            (lambda p: p['unit'].update(GT_bbox=['1', 2, 3, 4]), 'no unit.GT_bbox of four numbers'),
        ],
    )
    def test_of_another_form_is_named(self, root, edit, message):
        """It is of the second person in an image."""
        change(root, 4, edit)
        with pytest.raises(DatasetError, match=rf'{NAME}: entry 4, counted from 0, .*{message}.*correct it'):
            read_annotations(str(root / 'Annotations' / NAME))

    @pytest.mark.parametrize(
        'unit, message',
        [
            (dict(keypoints=51 * [2]), 'annotation 2 has 17 keypoints, expected 14'),
            (dict(GT_bbox=[30, 20, 10, 90]), 'annotation 2 has a box without area'),
            (dict(GT_bbox=[500, 20, 600, 90]), 'annotation 2 has a box outside its frame'),
            (dict(keypoints=14 * [5, 5, 3]), 'annotation 2 has a joint with v = 3'),
        ],
    )
    def test_of_labels_that_cannot_be_is_refused_as_in_any_file(self, root, unit, message):
        change(root, 2, lambda person: person['unit'].update(unit))
        with pytest.raises(DatasetError, match=rf'{NAME}: {message}'):
            samples(root, NAME, 'paired')

    def test_may_have_its_id_as_text(self, root):
        change(root, 0, lambda person: person['imgInfo'].update(imgID='100'))
        assert read_annotations(str(root / 'Annotations' / NAME))['annotations'][0]['image_id'] == 100

    @pytest.mark.parametrize('content', [[], [7], [dict(image_id=1, bbox=[1, 2, 3, 4])]])
    def test_lists_of_something_else(self, root, content):
        (root / 'Annotations' / NAME).write_text(json.dumps(content), encoding='utf-8')
        with pytest.raises(DatasetError, match=f'{NAME} is no COCO annotation file: it has no list of images'):
            samples(root, NAME, 'paired')


class TestElsewhere:
    def test_the_metric(self, root):
        """Predictions that are the labels have an AP of 1."""
        dataset = ExLPoseDataset('low_light', NAME, str(root), test_mode=True, split='LL-A')
        metric = LightingCocoMetric({'LL-A': NAME}, str(root))
        metric.dataset_meta = dataset.metainfo
        people = [dataset.get_data_info(i) for i in range(len(dataset))]
        for person in people:
            joints = dict(keypoints=person['keypoints'], keypoint_scores=np.ones((1, 14)))
            person.update(pred_instances=joints, gt_instances=dict(bboxes=person['bbox'], bbox_scores=np.ones(1)))
            person.update(ori_shape=(HEIGHT, WIDTH))
        metric.process([], people)
        assert metric.evaluate(len(people))['LL-A/AP'] == pytest.approx(1)

    def test_the_crop_cache(self, root, tmp_path, monkeypatch):
        config = load('exlpose/exlpose_cpn_r18_1xb32-32e_exlpose-256x192.py', root, monkeypatch)
        (dataset,) = build_uncached(config)
        written, unread = build(dataset, str(tmp_path / 'crops.lmdb'), 0, lambda count: None)
        assert (written, unread) == (6, []) and verify(dataset, str(tmp_path / 'crops.lmdb'), 6) == 6

    def test_the_release_check(self, root):
        reports = check_release(str(root), 1, (Known('ExLPose_train_LL.json', 4, 6),))
        assert complete(reports) and reports[0].problems == []

    def test_pairs_of_it(self, root, tmp_path):
        settings = Settings(str(root / 'Annotations' / NAME), str(root / 'ExLPose'), person_height=37.0)
        made, problems = make_pairs(settings, str(tmp_path / 'made'))
        assert (made, problems) == (4, [])
        people = samples(tmp_path / 'made', 'ExLPose_train_LL.json', 'paired')
        assert len(people) == 6 and cv2.imread(people[0]['img_path']).shape[0] == 49
        with pytest.raises(DatasetError, match='is not a readable image'):
            make_pairs(Settings(settings.ann_file, str(tmp_path)), str(tmp_path / 'other'))
        (root / 'Annotations' / NAME).write_text('[]', encoding='utf-8')
        with pytest.raises(PairMakingError, match='no COCO annotation file'):
            make_pairs(settings, str(tmp_path / 'other'))

    def test_boxes_of_it(self, root):
        boxes = boxes_from_file(str(root / 'Annotations' / NAME))
        (name,) = (path.name for path in (root / 'ExLPose/bright').glob('*vid000102*'))
        assert boxes(None, name).tolist() == [[10, 10, 44, 84], [70, 16, 110, 88]]

    def test_detections_as_annotations(self, root, tmp_path):
        images = list_images(NAME, str(root), 'well_lit')
        content = as_annotations([dict(image_id=100, bbox=[1, 2, 30, 40], score=0.9)], NAME, str(root), images)
        assert {(image['width'], image['height']) for image in content['images']} == {(WIDTH, HEIGHT)}
        assert content['categories'][0]['keypoints'] == list(JOINTS)
        (tmp_path / 'found.json').write_text(json.dumps(content), encoding='utf-8')
        assert len(samples(root, str(tmp_path / 'found.json'), 'paired', unlabelled=True)) == 1

    def test_the_picture_of_what_training_sees(self, root, tmp_path):
        config = ROOT / 'configs/demo/exlpose_r18_1xb16-10e_demo-128x96.py'
        assert 'ExLPose_train_LL.json' in str(Config.fromfile(config).train_dataloader)
        options = ['--data-root', str(root), '--num', '2', '--out', str(tmp_path / 'sheet.png')]
        runpy.run_path(str(ROOT / 'tools/browse_dataset.py'))['main']([str(config), *options])
        assert cv2.imread(str(tmp_path / 'sheet.png')).shape[1] == 2 * 288
