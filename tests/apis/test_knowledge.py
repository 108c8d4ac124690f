"""DA-LLPose's knowledge acquisition: each rule, and both teachers on drawn images."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import STANDING, coco_file
from mmengine.config import Config
from mmpose.codecs import SPR
from mmpose.registry import DATASETS, MODELS
from test_reading import entries

from exlpose_mm.apis.knowledge import (
    KnowledgeError,
    Poses,
    as_annotations,
    find_people,
    sure_centres,
    trusted,
    unite,
    whole_people,
)
from exlpose_mm.datasets.exlpose import ExLPoseDataset
from exlpose_mm.engine.checkpoints import CheckpointError

CODEC = dict(type='SPR', input_size=(64, 64), heatmap_size=(16, 16), sigma=(1, 1), generate_keypoint_heatmaps=True)


def people(*corners, score=0.8, seen=14):
    joints = np.stack([np.array(corner) + STANDING * (30, 60) for corner in corners]).astype(np.float32)
    scores = np.repeat(np.float32([[score] * seen + [0.0] * (14 - seen)]), len(corners), axis=0)
    return Poses(joints, scores, np.full(len(corners), score, np.float32))


class TestSureCentres:
    def read(self, heights, **kwargs):
        codec = sure_centres(CODEC, **kwargs)
        maps = torch.zeros(15, 16, 16)
        for i, height in enumerate(heights):
            maps[-1, 3 * (i // 5), 3 * (i % 5)] = height
        _, (centres, _) = SPR(**{k: v for k, v in codec.items() if k != 'type'}).decode(maps, torch.zeros(28, 16, 16))
        return centres.tolist()

    def test_over_the_threshold(self):
        assert self.read([0.95, 0.9, 0.899, 0.91], min_centre=0.905) == pytest.approx([0.95, 0.91])

    def test_at_most_so_many(self):
        assert len(self.read([0.95] * 20)) == 15
        assert self.read([0.92, 0.99, 0.95], max_people=2) == pytest.approx([0.99, 0.95])

    def test_a_teacher_without_centres(self):
        with pytest.raises(KnowledgeError, match="DEKR with an SPR codec; got 'AEHeatmap'"):
            sure_centres(dict(type='AEHeatmap'))


class TestWholePeople:
    @pytest.mark.parametrize(
        ('score', 'seen', 'kept'), [(0.8, 14, 1), (0.8, 10, 1), (0.8, 9, 0), (0.51, 14, 1), (0.5, 14, 0)]
    )
    def test_score_and_joints(self, score, seen, kept):
        assert len(whole_people(people((0, 0), score=score, seen=seen)).people) == kept

    def test_joints_of_a_low_score_do_not_count_and_lose_it(self):
        poses = people((0, 0))
        poses.scores[0, :4] = 0.1
        found = whole_people(poses)
        assert len(found.people) == 1 and (found.scores[0] > 0).tolist() == 4 * [False] + 10 * [True]
        poses.scores[0, 4] = 0.05
        assert len(whole_people(poses).people) == 0


class TestUnite:
    def test_the_main_teachers_stay(self):
        main, other = trusted(people((10, 10), score=0.3)), people((12, 11), (80, 10), score=0.99)
        both = unite(main, other)
        np.testing.assert_allclose(both.joints, np.concatenate([main.joints, other.joints[1:]]))
        np.testing.assert_allclose(both.scores[:, 0], [1.0, 0.99])

    def test_people_who_stand_apart_stay(self):
        assert len(unite(people((0, 0)), people((30, 0))).people) == 2
        assert len(unite(people((0, 0)), people((6, 0)), dist_thr=0.2).people) == 1

    def test_nobody(self):
        nobody = people((0, 0)).of(np.zeros(1, bool))
        assert len(unite(nobody, nobody).people) == 0
        assert len(unite(nobody, people((0, 0))).people) == 1

    def test_the_main_teachers_joints_are_trusted(self):
        assert (trusted(people((0, 0), score=0.3)).scores == 1).all()


class TestAnnotations:
    content = coco_file([(1, 'a.png', []), (2, 'b.png', [])])

    def test_they_are_read_as_any_other_file(self, tmp_path, exlpose_root):
        names = json.loads((exlpose_root / 'Annotations' / 'ExLPose_train_LL.json').read_text(encoding='utf-8'))
        ids = [image['id'] for image in names['images']]
        poses = {ids[0]: people((10, 10), (60, 5)), ids[1]: people((10, 10), seen=12), ids[2]: people((0, 0)).of([])}
        file = tmp_path / 'pseudo.json'
        file.write_text(json.dumps(as_annotations(names, poses)), encoding='utf-8')
        dataset = ExLPoseDataset('low_light', str(file), data_root=str(exlpose_root), data_mode='bottomup')
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        assert [len(info['keypoints']) for info in infos] == [2, 1]
        np.testing.assert_allclose(infos[0]['keypoints'], poses[ids[0]].joints, atol=1e-4)
        assert infos[1]['keypoints_visible'][0, :, 0].tolist() == 12 * [1] + 2 * [0]

    def test_joints_outside_of_the_frame_are_not_labelled(self):
        (person,) = as_annotations(self.content, {1: people((115, 10))})['annotations']
        labels = np.reshape(person['keypoints'], (14, 3))
        assert (labels[:, 2] == 0).tolist() == (people((115, 10)).joints[0, :, 0] >= 128).tolist()
        assert not labels[labels[:, 2] == 0].any() and person['num_keypoints'] == (labels[:, 2] > 0).sum()
        x, y, w, h = person['bbox']
        assert x == labels[labels[:, 2] > 0, 0].min() and x + w < 128

    def test_nobody_anywhere(self):
        with pytest.raises(KnowledgeError, match='neither teacher is sure of anybody'):
            as_annotations(self.content, {1: people((500, 500)), 2: people((0, 0)).of([])})


def test_a_model_is_asked_about_every_image(exlpose_root, tmp_path, monkeypatch):
    monkeypatch.setenv('DATA_ROOT', str(exlpose_root))
    config = Config.fromfile('configs/bottomup/baseline-well_dekr_r18_1xb8-12e_demo-96x96.py')
    config.test_dataloader.update(num_workers=0, persistent_workers=False)
    torch.save(dict(state_dict=MODELS.build(config.model).state_dict()), tmp_path / 'weights.pth')
    dataset = dict(
        type='ExLPoseDataset',
        lighting='low_light',
        ann_file='ExLPose_train_LL.json',
        data_root=str(exlpose_root),
        data_mode='bottomup',
        unlabelled=True,
        test_mode=True,
    )
    found = find_people(config, str(tmp_path / 'weights.pth'), dataset)
    assert sorted(found) == [DATASETS.build(dataset).get_data_info(i)['img_id'] for i in range(4)]
    assert all(poses.joints.shape == (*poses.scores.shape, 2) for poses in found.values())
    torch.save(dict(state_dict=torch.nn.Linear(1, 1).state_dict()), tmp_path / 'other.pth')
    with pytest.raises(CheckpointError, match='other.pth is not of this model'):
        find_people(config, str(tmp_path / 'other.pth'), dataset)


AE = """
_base_ = [{base!r}]
codec = dict(type='AEHeatmap', input_size=(96, 96), heatmap_size=(96, 96), sigma=1, decode_keypoint_order=[*range(14)])
model = dict(
    head=dict(
        _delete_=True,
        type='AEHead',
        in_channels=240,
        num_keypoints=14,
        deconv_out_channels=None,
        decoder=codec,
    ),
    test_cfg=dict(_delete_=True, flip_test=True, restore_heatmap_size=True),
)
test_dataloader = dict(num_workers=0, persistent_workers=False)
"""
STUDENT = """
knowledge = dict(
    dataset=dict(
        type='ExLPoseDataset',
        lighting='low_light',
        ann_file='ExLPose_train_LL.json',
        data_root={root!r},
        data_mode='bottomup',
        unlabelled=True,
        test_mode=True,
    ),
    main=dict(config={main!r}, checkpoint={main_weights!r}, min_centre=-1.0, max_people=3),
    complementary=dict(config={other!r}, checkpoint={other_weights!r}, min_score=-1.0, min_joints=0, min_joint=-1.0),
    nms=dict(dist_thr=0.05),
    out={out!r},
)
"""


def test_the_tool_asks_both_teachers_and_writes_the_file(exlpose_root, tmp_path):
    main = runpy.run_path('tools/acquire_knowledge.py')['main']
    base = str(Path('configs/bottomup/baseline-well_dekr_r18_1xb8-12e_demo-96x96.py').resolve())
    files = {name: str(tmp_path / name) for name in ('main', 'other', 'student')}
    loader = 'test_dataloader = dict(num_workers=0, persistent_workers=False)'
    texts = dict(main=f'_base_ = [{base!r}]\n{loader}\n', other=AE.format(base=base))
    facts = dict(root=str(exlpose_root), out=str(tmp_path / 'made' / 'pseudo.json'))
    for name, text in texts.items():
        facts[name] = files[name] + '.py'
        facts[f'{name}_weights'] = files[name] + '.pth'
        Path(facts[name]).write_text(text, encoding='utf-8')
        torch.manual_seed(0)
        weights = MODELS.build(Config.fromfile(facts[name]).model).state_dict()
        torch.save(dict(state_dict=weights), facts[f'{name}_weights'])
    Path(files['student'] + '.py').write_text(STUDENT.format(**facts), encoding='utf-8')

    # ExLPose's list of people, which does not say how large images are.
    labels = exlpose_root / 'Annotations' / 'ExLPose_train_LL.json'
    content = json.loads(labels.read_text(encoding='utf-8'))
    labels.write_text(json.dumps(entries(content)), encoding='utf-8')

    main([files['student'] + '.py', '--device', 'cpu'])
    content = json.loads(Path(facts['out']).read_text(encoding='utf-8'))
    dataset = ExLPoseDataset('low_light', facts['out'], data_root=str(exlpose_root), data_mode='bottomup')
    assert len(content['images']) == 4 and len(dataset) >= 1
    assert {(image['width'], image['height']) for image in content['images']} == {(128, 96)}

    with pytest.raises(SystemExit, match='is of no student'):
        main([facts['main']])
