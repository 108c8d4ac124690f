"""Detector and poses in one test: the boxes are the only thing that differs."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpose.registry import DATASETS
from test_dark_detection import CONFIG, checkpoint  # noqa: F401 (fixture)
from test_detection import boxes_of
from test_tools import DEMO, random_checkpoint

from exlpose_mm.apis import end_to_end
from exlpose_mm.apis.detection import images_of
from exlpose_mm.apis.end_to_end import EndToEndError, detect_sets, evaluate_poses, sets_of
from exlpose_mm.engine.variables import load_config

ROOT = Path(__file__).resolve().parents[2]
ROWS = ['LL-N', 'LL-H', 'LL-E', 'WL']
LIT = ('WL', 'well_lit')
DARKENED = 'configs/dark-lspet/exlpose_mobilenetv2_1xb32-6e_dark-lspet-128x96.py'
LOAD = dict(type='LoadLabelledImage')


@pytest.fixture
def config(exlpose_root) -> Config:
    config = load_config(str(DEMO), data_root=str(exlpose_root))
    config.test_dataloader.update(num_workers=0, persistent_workers=False)
    return config


@pytest.fixture(scope='module')
def pose(tmp_path_factory) -> str:
    return random_checkpoint(DEMO, tmp_path_factory.mktemp('pose') / 'pose.pth')


def test_every_split_that_a_config_tests_is_taken_under_its_lighting(config):
    sets = sets_of(config)
    assert [dataset.split for dataset in sets] == ROWS
    assert [dataset.lighting for dataset in sets] == 3 * ['low_light'] + ['well_lit']
    assert [len(dataset) for dataset in sets] == [2, 2, 2, 6]


def test_the_annotated_boxes_as_detections_lose_nothing(config, pose, exlpose_root, tmp_path, monkeypatch):
    """Of a detector that finds exactly the labelled people."""

    def exact(detector, images, *_):
        split = next(d.split for d in sets if set(images) == set(images_of(d.dataset)))
        boxes_of(exlpose_root, split, tmp_path / 'boxes.json')
        return json.loads((tmp_path / 'boxes.json').read_text(encoding='utf-8')), []

    sets = sets_of(config)
    monkeypatch.setattr(end_to_end, 'detect_people', exact)
    files = detect_sets(sets, None, str(tmp_path))
    annotated, detected = (
        evaluate_poses(config, pose, str(tmp_path / name), boxes)
        for name, boxes in (('annotated', None), ('detected', files))
    )
    assert list(annotated.rows) == list(detected.rows) and 'LL-A' in annotated.rows
    for row, values in annotated.rows.items():
        assert detected.rows[row]['AP'] == pytest.approx(values['AP'], abs=1e-6)
    assert annotated.boxes == 'ground truth' and detected.boxes == ', '.join(Path(file).name for file in files)


def test_a_set_in_which_nobody_is_found_is_tested(config, pose, tmp_path, monkeypatch):
    monkeypatch.setattr(end_to_end, 'detect_people', lambda *args: ([], []))
    files = detect_sets(sets_of(config), None, str(tmp_path))
    detected = evaluate_poses(config, pose, str(tmp_path / 'detected'), files)
    assert set(detected.rows) == {*ROWS, 'LL-A'} and {row['AP'] for row in detected.rows.values()} == {0.0}


def test_an_image_that_cannot_be_read_is_named(config, tmp_path, monkeypatch):
    sets = sets_of(config)
    monkeypatch.setattr('exlpose_mm.apis.detection._people', lambda *_: [])
    path = Path(sets[0].dataset.get_data_info(0)['img_path'])
    path.write_bytes(b'no image')
    with pytest.raises(EndToEndError, match=path.name):
        detect_sets(sets[:1], None, str(tmp_path))


def test_the_detector_sees_the_darkness_that_the_poses_are_tested_in(exlpose_root, tmp_path, monkeypatch):
    """Of a config whose dark rows are made of the well-lit images."""
    config = load_config(str(ROOT / DARKENED), data_root=str(exlpose_root))
    sets, seen = sets_of(config), {}
    assert [(tested.split, tested.lighting) for tested in sets] == [*((row, 'low_light') for row in ROWS[:3]), LIT]

    def look(detector, image, lighting, score_thr):
        seen.setdefault(lighting, []).append(image)
        return []

    monkeypatch.setattr('exlpose_mm.apis.detection._people', look)
    detect_sets(sets, None, str(tmp_path))
    poses = [
        dict(member, pipeline=member.get('pipeline', [LOAD])) for member in config.test_dataloader.dataset.datasets
    ]
    with DefaultScope.overwrite_default_scope('mmpose'):
        tested = [DATASETS.build(dict(member, data_mode='bottomup')) for member in poses]
    wanted = [dataset[i] for dataset in tested for i in range(len(dataset))]
    assert len(seen['low_light']) == 3 * len(seen['well_lit']) == 18
    for image, sample in zip(seen['low_light'] + seen['well_lit'], wanted):
        np.testing.assert_array_equal(image, sample['img'])


@pytest.mark.parametrize('step', [dict(type='SimulateLowLight', level='exlpose'), dict(type='GammaDarken')])
def test_darkness_that_is_drawn_anew_is_refused(exlpose_root, step):
    config = load_config(str(ROOT / DARKENED), data_root=str(exlpose_root))
    config.test_dataloader.dataset.datasets[1].pipeline[1] = dict(step, paired=False)
    with pytest.raises(EndToEndError, match=f'tests images that {step["type"]} darkens anew each time'):
        sets_of(config)
    config = load_config(str(ROOT / DARKENED), data_root=str(exlpose_root))
    config.test_dataloader.dataset.pipeline.insert(1, dict(step, paired=False))  # of all members alike
    with pytest.raises(EndToEndError, match=f'tests images that {step["type"]} darkens anew each time'):
        sets_of(config)


def test_other_data_and_metrics_are_refused(config):
    other = Config(config.to_dict())
    other.test_dataloader.dataset.datasets[0].type = 'CocoDataset'
    with pytest.raises(EndToEndError, match='tests a CocoDataset: boxes are read by ExLPoseDataset only'):
        sets_of(other)
    config.test_evaluator.type = 'CocoMetric'
    with pytest.raises(EndToEndError, match='tests by CocoMetric: give it one LightingCocoMetric'):
        sets_of(config)


def test_command_line(pose, checkpoint, exlpose_root, tmp_path, capsys):  # noqa: F811
    spec = importlib.util.spec_from_file_location('end_to_end_tool', ROOT / 'tools' / 'end_to_end.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    arguments = [str(DEMO), pose, '--detector', CONFIG, checkpoint, '--data-root', str(exlpose_root)]
    tool.main([*arguments, '--score-thr', '0', '--out', str(tmp_path / 'out')])
    table = (tmp_path / 'out' / 'end_to_end.md').read_text(encoding='utf-8')
    assert table in capsys.readouterr().out
    for row in (*ROWS, 'LL-A'):
        assert f'\n| {row} |' in table
    assert 'annotated boxes' in table and (tmp_path / 'out' / '0_LL-N.json').is_file()
    with pytest.raises(SystemExit, match='end_to_end: no config nothing.py'):
        tool.main(['nothing.py', *arguments[1:]])
