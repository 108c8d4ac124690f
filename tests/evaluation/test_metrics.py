import json
import math
import pickle
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from conftest import coco_file, person_annotation
from mmengine import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from exlpose_mm.datasets.exlpose import ExLPoseDataset, MissingFileError
from exlpose_mm.datasets.files import DatasetError
from exlpose_mm.evaluation.metric import LightingCocoMetric
from exlpose_mm.evaluation.people import PersonResults
from exlpose_mm.evaluation.results import Results
from exlpose_mm.evaluation.rows import PredictionError, SplitError

ROOT = Path(__file__).resolve().parents[2]
SIGMAS = [0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079]
LONG = {'LL-N': 'LL-Normal', 'LL-H': 'LL-Hard', 'LL-E': 'LL-Extreme'}
META = ExLPoseDataset(lazy_init=True).metainfo


def build(ann_files, **kwargs):
    metric = LightingCocoMetric({split: str(path) for split, path in ann_files.items()}, **kwargs)
    metric.dataset_meta = META
    return metric


def sample(annotation, split, keypoints, scores):
    """What a top-down model hands to a metric for one person."""
    x, y, w, h = annotation['bbox']
    box = np.array([[x, y, x + w, y + h]], np.float32)
    return dict(
        id=annotation['id'],
        img_id=annotation['image_id'],
        img_path='a.png',
        split=split,
        category_id=1,
        raw_ann_info=annotation,
        gt_instances=dict(bboxes=box, bbox_scores=np.ones(1, np.float32), bbox_scales=np.array([[w, h]])),
        pred_instances=dict(
            keypoints=np.asarray(keypoints, float)[None], bboxes=box, keypoint_scores=np.asarray(scores, float)[None]
        ),
    )


def labelled(content):
    return [a for a in content['annotations'] if any(v > 0 for v in a['keypoints'][2::3])]


def jittered(contents, seed=0, scores=None):
    """Predictions of very different quality, from exact to hopeless."""
    rng = np.random.default_rng(seed)
    for split, content in contents.items():
        for annotation in labelled(content):
            spread = rng.choice([0.01, 0.03, 0.06, 0.1, 0.3]) * math.sqrt(np.prod(annotation['bbox'][2:]))
            keypoints = np.reshape(annotation['keypoints'], (14, 3))[:, :2]
            keypoints = keypoints + rng.normal(0, spread, (14, 2))
            yield sample(
                annotation, split, keypoints, rng.uniform(0.1, 1, 14) if scores is None else np.full(14, scores)
            )


def evaluate(metric, data_samples):
    for start in range(0, len(data_samples), 16):
        metric.process([], data_samples[start : start + 16])
    return metric.evaluate(len(data_samples))


def reference_stats(content, data_samples):
    """AP, AP50, AP75, AR by pycocotools with the official sigmas and areas."""
    annotations = [
        dict(a, id=i, area=0.53 * a['bbox'][2] * a['bbox'][3], num_keypoints=sum(v > 0 for v in a['keypoints'][2::3]))
        for i, a in enumerate(content['annotations'], 1)
    ]
    detections = []
    for s in sorted(data_samples, key=lambda s: (s['img_id'], s['id'])):
        instances = s['pred_instances']
        triples = np.column_stack([instances['keypoints'][0], instances['keypoint_scores'][0]])
        detections.append(
            dict(
                image_id=s['img_id'],
                category_id=1,
                keypoints=triples.ravel().tolist(),
                score=float(instances['keypoint_scores'].mean()),
            )
        )
    with redirect_stdout(StringIO()):
        truth = COCO()
        truth.dataset = {**content, 'annotations': annotations}
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), 'keypoints')
        evaluation.params.kpt_oks_sigmas = np.array(SIGMAS)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(('AP', 'AP50', 'AP75', 'AR'), evaluation.stats[[0, 1, 2, 5]]))


def reference_oks(annotation, keypoints):
    total, count = 0.0, 0
    area = 0.53 * annotation['bbox'][2] * annotation['bbox'][3]
    for joint, sigma in enumerate(SIGMAS):
        x, y, v = annotation['keypoints'][3 * joint : 3 * joint + 3]
        if v > 0:
            squared = (keypoints[joint][0] - x) ** 2 + (keypoints[joint][1] - y) ** 2
            total += math.exp(-squared / (2 * area * (2 * sigma) ** 2))
            count += 1
    return total / count


@pytest.fixture
def official(official_dir):
    """Paths and contents of the three official low-light test files."""
    paths = {split: official_dir / f'ExLPose_test_{name}.json' for split, name in LONG.items()}
    return paths, {split: json.loads(path.read_text(encoding='utf-8')) for split, path in paths.items()}


@pytest.fixture
def toy(tmp_path):
    """One image with one person; the same file for three splits, as for a simulated camera."""
    person = person_annotation(5, 9, (10, 10, 40, 70))
    path = tmp_path / 'toy.json'
    path.write_text(json.dumps(coco_file([(9, 'a.png', [person])])), encoding='utf-8')
    return dict.fromkeys(('LL-N', 'LL-H', 'LL-E'), path), person


def toy_samples(person, levels=(('LL-N', 0, 0.9), ('LL-H', 0, 0.8), ('LL-E', 500, 0.1))):
    exact = np.reshape(person['keypoints'], (14, 3))[:, :2]
    return [sample(person, split, exact + shift, np.full(14, score)) for split, shift, score in levels]


# --- Against independent references ------------------------------------------------------


@pytest.mark.no_cover  # pycocotools takes twice as long when it is traced
@pytest.mark.parametrize('scores', [None, 0.5])
def test_rows_agree_with_pycocotools(official, official_dir, scores):
    """With one score for everyone AP depends on the order of the images, also in the union."""
    paths, contents = official
    data_samples = list(jittered(contents, scores=scores))
    result = evaluate(build(paths), data_samples)
    for split, content in contents.items():
        own = [s for s in data_samples if s['split'] == split]
        _check_row(result, split, reference_stats(content, own))
    whole = json.loads((official_dir / 'ExLPose_test_LL-All.json').read_text(encoding='utf-8'))
    _check_row(result, 'LL-A', reference_stats(whole, data_samples))


def _check_row(result, row, expected):
    assert 0.2 < expected['AP'] < 0.9
    for name, value in expected.items():
        assert result[f'{row}/{name}'] == pytest.approx(value, abs=1e-6), (row, name)


def test_mean_oks_of_own_predictions(official):
    paths, contents = official
    data_samples = list(jittered(contents))
    expected = [reference_oks(s['raw_ann_info'], s['pred_instances']['keypoints'][0]) for s in data_samples]
    result = evaluate(build(paths), data_samples)
    assert result['LL-A/OKS'] == pytest.approx(np.mean(expected), abs=1e-6)
    hard = [e for e, s in zip(expected, data_samples) if s['split'] == 'LL-H']
    assert result['LL-H/OKS'] == pytest.approx(np.mean(hard), abs=1e-6)


# --- Equal ids in several splits ---------------------------------------------------------


def test_equal_ids_in_three_splits_are_three_people(toy):
    paths, person = toy
    result = evaluate(build(paths), toy_samples(person))
    assert [result[f'{row}/AP'] for row in ('LL-N', 'LL-H', 'LL-E')] == pytest.approx([1, 1, 0])
    assert result['LL-A/AR'] == pytest.approx(2 / 3)
    assert result['LL-A/AP'] == pytest.approx(67 / 101)  # 67 of 101 recall levels are <= 2/3
    assert result['LL-A/OKS'] == pytest.approx(2 / 3)
    assert list(result)[:5] == ['LL-N/AP', 'LL-N/AP50', 'LL-N/AP75', 'LL-N/AR', 'LL-N/OKS']
    rows = list(dict.fromkeys(key.split('/')[0] for key in result))
    assert rows == ['LL-N', 'LL-H', 'LL-E', 'LL-A']


def test_a_person_without_prediction_counts_as_zero(tmp_path):
    people = [person_annotation(i, 1, (10 + 50 * i, 10, 40, 70)) for i in range(2)]
    (tmp_path / 'two.json').write_text(json.dumps(coco_file([(1, 'a.png', people)])), encoding='utf-8')
    result = evaluate(build({'WL': tmp_path / 'two.json'}), toy_samples(people[0], [('WL', 0, 1.0)]))
    assert result['WL/OKS'] == pytest.approx(0.5)
    assert result['WL/AR'] == pytest.approx(0.5)


@pytest.mark.parametrize('iou_type', ['keypoints', 'keypoints_crowd'])
@pytest.mark.parametrize('visible, said, people', [(2, 0, 1), (0, 14, 0)])
def test_num_keypoints_of_the_file_is_not_believed(tmp_path, iou_type, visible, said, people):
    """A person is ignored if no joint is labelled, not if ``num_keypoints`` says so."""
    plain = person_annotation(0, 1, (10, 10, 40, 70))
    other = person_annotation(1, 1, (70, 10, 40, 70), np.full(14, visible), num_keypoints=said)
    (tmp_path / 'a.json').write_text(json.dumps(coco_file([(1, 'a.png', [plain, other])])), encoding='utf-8')
    metric = build({'WL': tmp_path / 'a.json'}, iou_type=iou_type)
    result = evaluate(metric, toy_samples(plain, [('WL', 0, 1.0)]))
    assert result['WL/AR'] == pytest.approx(1 / (1 + people))


def test_padding_of_distributed_testing_does_no_harm(toy):
    """Samplers repeat samples to fill the last batch of each rank."""
    paths, person = toy
    data_samples = toy_samples(person)
    assert evaluate(build(paths), data_samples * 2) == evaluate(build(paths), data_samples)


def test_results_are_picklable_and_metric_can_be_used_again(toy):
    paths, person = toy
    metric = build(paths)
    metric.process([], toy_samples(person))
    metric.results = pickle.loads(pickle.dumps(metric.results))
    assert metric.evaluate(3) == evaluate(metric, toy_samples(person))


def test_detected_boxes_have_no_own_person(toy):
    """Ids of detections are no annotation ids, even where the numbers agree."""
    paths, person = toy
    detections = toy_samples(person)
    for detection in detections:
        del detection['raw_ann_info']
    result = evaluate(build(paths), detections)
    assert result['LL-N/AP'] == pytest.approx(1)
    assert 'LL-N/OKS' not in result


# --- Rows, logs and files ----------------------------------------------------------------


def test_rows_that_were_not_tested_are_left_out_with_a_line(toy, monkeypatch):
    paths, person = toy
    lines = logged(monkeypatch)
    result = evaluate(build(paths), toy_samples(person)[:2])
    assert {key.split('/')[0] for key in result} == {'LL-N', 'LL-H'}
    assert 'LL-A is left out: no sample of LL-E was tested' in lines
    assert not any('Average Precision' in line for line in lines)


def logged(monkeypatch):
    lines = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', lines.append)
    return lines


def test_table_in_log_and_files(toy, tmp_path, monkeypatch, capsys):
    paths, person = toy
    lines = logged(monkeypatch)
    metric = build(paths, table_prefix=str(tmp_path / 'new' / 'table'))
    capsys.readouterr()
    result = evaluate(metric, toy_samples(person))
    assert capsys.readouterr().out == ''
    caption, *table = lines[-1].splitlines()
    assert caption == 'AP, AR and OKS in percent; boxes: ground truth'
    assert table == [
        'split     AP   AP50   AP75     AR    OKS',
        'LL-N   100.0  100.0  100.0  100.0  100.0',
        'LL-H   100.0  100.0  100.0  100.0  100.0',
        'LL-E     0.0    0.0    0.0    0.0    0.0',
        'LL-A    66.3   66.3   66.3   66.7   66.7',
    ]
    written = json.loads((tmp_path / 'new' / 'table.json').read_text(encoding='utf-8'))
    assert written['boxes'] == 'ground truth'
    assert {f'{row}/{k}': v for row, values in written['rows'].items() for k, v in values.items()} == result
    markdown = (tmp_path / 'new' / 'table.md').read_text(encoding='utf-8').splitlines()
    assert markdown[:3] == [caption, '', '| split | AP | AP50 | AP75 | AR | OKS |']
    assert markdown[-1] == '| LL-A | 66.3 | 66.3 | 66.3 | 66.7 | 66.7 |'


def test_own_union_and_prefix(toy):
    paths, person = toy
    metric = build(paths, unions={'both': ('LL-H', 'LL-E')}, prefix='dark')
    result = evaluate(metric, toy_samples(person))
    assert result['dark/both/AR'] == pytest.approx(0.5)
    assert not any('LL-A' in key for key in result)


@pytest.mark.parametrize('format_only', [False, True])
def test_predictions_of_each_row_are_kept(toy, tmp_path, format_only):
    paths, person = toy
    metric = build(paths, outfile_prefix=str(tmp_path / 'out'), format_only=format_only)
    assert (evaluate(metric, toy_samples(person)) == {}) == format_only
    counts = {
        row: len(json.loads((tmp_path / f'out.{row}.keypoints.json').read_text(encoding='utf-8')))
        for row in ('LL-N', 'LL-A')
    }
    assert counts == {'LL-N': 1, 'LL-A': 3}


def test_build_from_config_and_find_files(exlpose_root):
    files = {split: f'ExLPose_test_{split}.json' for split in ('LL-N', 'LL-H', 'LL-E', 'WL')}
    evaluator = Evaluator(dict(type='LightingCocoMetric', data_root=str(exlpose_root), ann_files=files))
    evaluator.dataset_meta = META
    contents = {
        split: json.loads((exlpose_root / 'Annotations' / name).read_text(encoding='utf-8'))
        for split, name in files.items()
    }
    exact = [
        sample(a, split, np.reshape(a['keypoints'], (14, 3))[:, :2], np.full(14, 0.7))
        for split, content in contents.items()
        for a in labelled(content)
    ]
    evaluator.process(exact, [])
    result = evaluator.evaluate(len(exact))
    for row in ('LL-N', 'LL-H', 'LL-E', 'WL', 'LL-A'):
        assert result[f'{row}/AP'] == pytest.approx(1)
        assert result[f'{row}/OKS'] == pytest.approx(1)


def test_rows_come_in_the_order_of_the_paper(toy):
    paths, person = toy
    files = {'WL': paths['LL-N'], **paths, 'extra': paths['LL-N']}
    data_samples = toy_samples(person, [(split, 0, 1.0) for split in files])
    assert rows_of(evaluate(build(files), data_samples)) == ['LL-N', 'LL-H', 'LL-E', 'LL-A', 'WL', 'extra']
    own = build(files, row_order=['extra', 'LL-A', 'not tested'])
    assert rows_of(evaluate(own, data_samples))[:3] == ['extra', 'LL-A', 'WL']


def rows_of(result):
    return list(dict.fromkeys(key.rpartition('/')[0] for key in result))


def test_mean_of_the_two_cameras(toy, tmp_path):
    paths, person = toy
    files = dict.fromkeys(('RICOH3', 'A7M3'), paths['LL-N'])
    metric = build(files, table_prefix=str(tmp_path / 'table'))
    result = evaluate(metric, toy_samples(person, [('A7M3', 0, 1.0), ('RICOH3', 500, 0.1)]))
    assert rows_of(result) == ['A7M3', 'RICOH3', 'OCN']
    assert [result[f'{row}/AP'] for row in ('A7M3', 'RICOH3', 'OCN')] == pytest.approx([1, 0, 0.5])
    assert result['OCN/OKS'] == pytest.approx(0.5)
    written = Results.read(str(tmp_path / 'table.json'))
    assert written.means == {'OCN': ['A7M3', 'RICOH3']}
    assert set(written.matches) == {'A7M3', 'RICOH3'}


def test_mean_is_left_out_with_its_parts(toy, monkeypatch):
    paths, person = toy
    lines = logged(monkeypatch)
    files = dict.fromkeys(('A7M3', 'RICOH3'), paths['LL-N'])
    result = evaluate(build(files), toy_samples(person, [('A7M3', 0, 1.0)]))
    assert rows_of(result) == ['A7M3']
    assert 'OCN is left out: no sample of RICOH3 was tested' in lines
    assert not any('LL-A' in line for line in lines)  # nothing of LL-A could be tested


@pytest.mark.no_cover
@pytest.mark.parametrize('iou_type', ['keypoints', 'keypoints_crowd'])
def test_ap_can_be_computed_again_from_the_written_matches(official, tmp_path, iou_type):
    paths, contents = official
    metric = build(paths, table_prefix=str(tmp_path / 'table'), iou_type=iou_type)
    result = evaluate(metric, list(jittered(contents)))
    matches = Results.read(str(tmp_path / 'table.json')).matches
    assert list(matches) == rows_of(result)[-1:] + rows_of(result)[:-1]
    for row, found in matches.items():
        assert found.average_precision() == pytest.approx(result[f'{row}/AP'], abs=1e-9)
    assert len(matches['LL-A'].images) == len(set(matches['LL-A'].images)) == 491
    assert (tmp_path / 'table.npz').stat().st_size < 500_000


# --- Where boxes came from, and where files go -------------------------------------------


def test_table_names_the_boxes(toy, tmp_path):
    paths, person = toy
    boxes = [boxes_written(paths, toy_samples(person), tmp_path)]
    detections = toy_samples(person)
    for detection in detections:
        del detection['raw_ann_info']
    boxes.append(boxes_written(paths, detections, tmp_path))
    detections = [dict(detection, bbox_file='boxes/yolo.json') for detection in detections]
    boxes.append(boxes_written(paths, detections, tmp_path))
    boxes.append(boxes_written(paths, detections[:1] + toy_samples(person)[1:], tmp_path))
    bottom_up = [dict(s, id=[s['id']], raw_ann_info=[person]) for s in toy_samples(person)]
    boxes.append(boxes_written(paths, bottom_up, tmp_path))
    assert boxes == ['ground truth', 'detected', 'yolo.json', 'yolo.json, ground truth', 'none']


def boxes_written(paths, data_samples, tmp_path):
    evaluate(build(paths, table_prefix=str(tmp_path / 'table')), data_samples)
    assert (
        (tmp_path / 'table.md')
        .read_text(encoding='utf-8')
        .splitlines()[0]
        .endswith('boxes: ' + json.loads((tmp_path / 'table.json').read_text(encoding='utf-8'))['boxes'])
    )
    return json.loads((tmp_path / 'table.json').read_text(encoding='utf-8'))['boxes']


@pytest.mark.parametrize(
    'kwargs, name', [({}, 'table.json'), (dict(prefix='dark'), 'dark_table.json'), (dict(table_prefix=''), None)]
)
def test_table_is_written_beside_the_log_of_a_run(toy, tmp_path, monkeypatch, kwargs, name):
    paths, person = toy
    log_file = str(tmp_path / 'run' / 'a.log')
    monkeypatch.setattr(MMLogger.get_current_instance(), '_log_file', log_file)
    evaluate(build(paths, **kwargs), toy_samples(person))
    assert [p.name for p in tmp_path.glob('run/*.json')] == ([name] if name else [])


def test_nothing_is_written_without_a_log_file(toy, tmp_path, monkeypatch):
    paths, person = toy
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MMLogger.get_current_instance(), '_log_file', None)
    before = sorted(tmp_path.rglob('*'))
    evaluate(build(paths), toy_samples(person))
    assert sorted(tmp_path.rglob('*')) == before


def test_ocn_config_tests_the_two_cameras_and_nothing_else():
    path = ROOT / 'configs' / 'exlpose' / 'exlpose_cpn_r50_1xb32-32e_exlpose-ocn-256x192.py'
    config = Config.fromfile(path)
    sets = config.test_dataloader.dataset.datasets
    assert {s.type for s in sets} == {'ExLPoseOCNDataset'}
    assert [s.ann_file for s in sets] == list(config.test_evaluator.ann_files.values())
    assert list(config.test_evaluator.ann_files) == ['A7M3', 'RICOH3']
    assert list(config.val_evaluator.ann_files) == ['LL-N', 'LL-H', 'LL-E', 'WL']
    assert config.test_dataloader.dataset.pipeline == config.val_dataloader.dataset.pipeline


def test_people_without_joints_may_lack_box_and_joints_and_the_file_its_categories(toy, tmp_path):
    """They change nothing, as the data set leaves them out."""
    paths, person = toy
    whole = evaluate(build(paths), toy_samples(person))
    content = json.loads(Path(paths['LL-N']).read_text(encoding='utf-8'))
    del content['categories']
    bare = dict(id=900, image_id=content['images'][0]['id'], category_id=1)
    content['annotations'] += [bare, dict(bare, id=901, keypoints=[], bbox=None), dict(bare, id=902, bbox=[0, 0, 5, 5])]
    (tmp_path / 'bare.json').write_text(json.dumps(content), encoding='utf-8')
    lacking = dict.fromkeys(paths, tmp_path / 'bare.json')
    assert evaluate(build(lacking), toy_samples(person)) == whole


# --- What is computed, on one person -----------------------------------------------------


def shifted_oks(person, shift, area):
    """Of a prediction that lies ``shift`` pixels right and below each of the labelled joints."""
    sigmas = [sigma for sigma, v in zip(SIGMAS, person['keypoints'][2::3]) if v > 0]
    return sum(math.exp(-2 * shift**2 / (2 * area * (2 * sigma) ** 2)) for sigma in sigmas) / len(sigmas)


def test_oks_and_ap_of_a_person_of_whom_some_joints_are_labelled(tmp_path):
    person = person_annotation(5, 9, (10, 10, 40, 70))
    person['keypoints'][2::3] = [0, 1, 2, 2, 0] + 9 * [2]
    path = tmp_path / 'person.json'
    path.write_text(json.dumps(coco_file([(9, 'a.png', [person])])), encoding='utf-8')
    result = evaluate(build(dict(WL=path)), toy_samples(person, [('WL', 5, 1.0)]))
    oks = shifted_oks(person, 5, 0.53 * 40 * 70)
    assert 0.5 < oks < 0.75
    assert result['WL/OKS'] == pytest.approx(oks)
    assert result['WL/AP50'] == pytest.approx(1) and result['WL/AP75'] == 0
    assert result['WL/AP'] == pytest.approx(sum(oks >= step / 100 for step in range(50, 100, 5)) / 10)


def test_crowds_and_people_of_one_joint(tmp_path):
    """A crowd, which nobody found, is nobody that was missed; a person of one hidden joint is."""
    person, crowd, hidden = (person_annotation(i, 9, (10, 10, 40, 70)) for i in (5, 6, 7))
    crowd['iscrowd'] = 1
    hidden['keypoints'][2::3] = [1] + 13 * [0]
    del person['iscrowd']
    recalls = []
    for i, people in enumerate(([person], [person, crowd], [person, hidden])):
        path = tmp_path / f'{i}.json'
        path.write_text(json.dumps(coco_file([(9, 'a.png', people)])), encoding='utf-8')
        result = evaluate(build(dict(WL=path)), toy_samples(person, [('WL', 0, 1.0)]))
        recalls.append((result['WL/AR'], result['WL/OKS']))
    assert recalls == [(1, 1), (1, 1), (0.5, 0.5)]


def test_people_are_category_3_beside_dogs(tmp_path):
    person, dog = person_annotation(5, 9, (10, 10, 40, 70)), person_annotation(6, 9, (60, 10, 40, 70))
    person['category_id'] = 3
    content = coco_file([(9, 'a.png', [person, dog])])
    content['categories'] = [dict(id=1, name='dog'), dict(content['categories'][0], id=3)]
    path = tmp_path / 'animals.json'
    path.write_text(json.dumps(content), encoding='utf-8')
    (found,) = toy_samples(person, [('WL', 0, 1.0)])
    result = evaluate(build(dict(WL=path)), [dict(found, category_id=3)])
    assert (result['WL/AP'], result['WL/AR'], result['WL/OKS']) == pytest.approx((1, 1, 1))


def test_the_annotation_id_0_is_a_match(tmp_path):
    person = person_annotation(0, 9, (10, 10, 40, 70))
    path = tmp_path / 'person.json'
    path.write_text(json.dumps(coco_file([(9, 'a.png', [person])])), encoding='utf-8')
    assert evaluate(build(dict(WL=path)), toy_samples(person, [('WL', 0, 1.0)]))['WL/AP'] == pytest.approx(1)


def test_images_have_the_annotated_size(toy, tmp_path):
    paths, person = toy
    (loaded,) = toy_samples(person, [('LL-N', 0, 1.0)])
    image = json.loads(Path(paths['LL-N']).read_text(encoding='utf-8'))['images'][0]
    width, height = image['width'], image['height']
    assert width != height
    build(paths).process([], [dict(loaded, ori_shape=(height, width)), dict(loaded, ori_shape=(height, width, 3))])
    said = f'a.png was loaded with {height} x {width} pixels, but .*toy.json annotates {width} x {height}'
    with pytest.raises(SplitError, match=said):
        build(paths).process([], [dict(loaded, ori_shape=(width, height))])
    content = json.loads(Path(paths['LL-N']).read_text(encoding='utf-8'))
    del content['images'][0]['width'], content['images'][0]['height']
    (tmp_path / 'unknown.json').write_text(json.dumps(content), encoding='utf-8')
    build({'LL-N': tmp_path / 'unknown.json'}).process([], [dict(loaded, ori_shape=(5, 5))])


def test_the_record_of_people(toy, tmp_path):
    paths, person = toy
    root = tmp_path / 'data'
    metric = build({**paths, 'WL': paths['LL-N']}, data_root=str(root), table_prefix=str(tmp_path / 'table'))
    levels = [('LL-N', 3, 0.9), ('LL-H', 0, 0.8), ('WL', 0, 0.7)]
    dark, drawn, bright = toy_samples(person, levels)
    dark.update(img_path=str(root / 'dark' / 'a.png'), simulated='{"level": "hard"}')
    drawn.update(img_path=str(tmp_path / 'elsewhere.png'), lighting='well_lit')
    del bright['img_path']
    metric.process([], [dark])
    metric.process([], [drawn, bright])
    metric.evaluate(3)
    people = PersonResults.read(str(tmp_path / 'table.people.npz'))
    assert people.split.tolist() == ['LL-N', 'LL-H', 'WL']
    assert people.lighting.tolist() == ['low_light', 'well_lit', 'well_lit']
    assert people.simulated.tolist() == ['{"level": "hard"}', '', '']
    assert people.data_root.tolist() == [str(root), '', '']
    assert people.image.tolist() == ['dark/a.png', str(tmp_path / 'elsewhere.png'), '']
    assert people.image_id.tolist() == [9, 9, 9] and people.annotation_id.tolist() == [5, 5, 5]
    np.testing.assert_array_equal(people.box, 3 * [person['bbox']])
    labels = np.reshape(person['keypoints'], (14, 3))
    np.testing.assert_allclose(people.labels, 3 * [labels])
    np.testing.assert_allclose(people.keypoints, [labels[:, :2] + shift for _, shift, _ in levels])
    np.testing.assert_allclose(people.scores, [14 * [score] for *_, score in levels])
    np.testing.assert_allclose(people.oks, [shifted_oks(person, 3, 0.53 * 40 * 70), 1, 1])
    assert people.joints.tolist()[:2] == ['left_shoulder', 'right_shoulder'] and len(people.links)


# --- Errors ------------------------------------------------------------------------------


def test_sample_without_split(toy):
    paths, person = toy
    data_samples = toy_samples(person)
    del data_samples[1]['split']
    with pytest.raises(SplitError, match='a.png carries no "split".*PackPairedInputs'):
        build(paths).process([], data_samples)


def test_sample_of_an_unknown_split(toy):
    paths, person = toy
    with pytest.raises(SplitError, match=r"split 'A7M3' of a\.png.*'LL-N', 'LL-H', 'LL-E'"):
        build(paths).process([], toy_samples(person, [('A7M3', 0, 1.0)]))


def test_image_that_the_ground_truth_does_not_know(toy):
    paths, person = toy
    with pytest.raises(SplitError, match=r"image 77 of split 'LL-N'.*toy\.json"):
        evaluate(build(paths), toy_samples(dict(person, image_id=77), [('LL-N', 0, 1.0)]))


@pytest.mark.parametrize(
    'keypoint, score, named',
    [
        (math.nan, 1.0, 'keypoints'),
        (math.inf, 1.0, 'keypoints'),
        (3.0, math.nan, 'keypoint_scores'),
        (math.nan, math.nan, 'keypoints and keypoint_scores'),
    ],
)
def test_predictions_that_are_not_numbers(toy, keypoint, score, named):
    """COCO's tools count a similarity that is not a number as a match, for an AP of 100 %."""
    paths, person = toy
    keypoints, scores = np.zeros((14, 2)), np.ones(14)
    keypoints[3, 1], scores[5] = keypoint, score
    with pytest.raises(PredictionError, match=f'predicted {named} of a.png are not finite'):
        build(paths).process([], [sample(person, 'LL-N', keypoints, scores)])


@pytest.mark.parametrize('area', [None, 0, -1.0, math.nan, 'large'])
def test_areas_that_are_none_are_refused_if_they_are_used(toy, tmp_path, area):
    content = json.loads(Path(toy[0]['LL-N']).read_text(encoding='utf-8'))
    content['annotations'][0]['area'] = area
    path = tmp_path / 'areas.json'
    path.write_text(json.dumps(content), encoding='utf-8')
    with pytest.raises(DatasetError, match=r'areas.json: annotation 5 has the area .*use_area=False'):
        build(dict(WL=path), use_area=True)
    assert evaluate(build(dict(WL=path)), toy_samples(toy[1], [('WL', 0, 1.0)]))['WL/AP'] == pytest.approx(1)


def test_the_annotated_area_is_the_scale(toy, tmp_path):
    content = json.loads(Path(toy[0]['LL-N']).read_text(encoding='utf-8'))
    content['annotations'][0]['area'] = 400.0
    path = tmp_path / 'areas.json'
    path.write_text(json.dumps(content), encoding='utf-8')
    result = evaluate(build(dict(WL=path), use_area=True), toy_samples(toy[1], [('WL', 3, 1.0)]))
    oks = sum(math.exp(-(3**2 + 3**2) / (2 * 400 * (2 * sigma) ** 2)) for sigma in SIGMAS) / 14
    assert result['WL/OKS'] == pytest.approx(oks)
    assert result['WL/AP'] == pytest.approx(sum(oks >= step / 100 for step in range(50, 100, 5)) / 10)


def test_ground_truth_with_a_byte_order_mark(tmp_path):
    (tmp_path / 'bom.json').write_text('\ufeff{}', encoding='utf-8')
    with pytest.raises(DatasetError, match='bom.json is no JSON file.*BOM'):
        build(dict(WL=tmp_path / 'bom.json'))


def test_missing_ground_truth(tmp_path):
    with pytest.raises(MissingFileError, match='gone.json'):
        LightingCocoMetric({'WL': 'gone.json'}, data_root=str(tmp_path))


class TestSeveralPeopleAnImage:
    """Predictions of bottom-up models: all people of an image in one sample, whose ids are a list."""

    @staticmethod
    def samples(contents, found=None):
        for split, content in contents.items():
            for image in content['images']:
                people = [a for a in labelled(content) if a['image_id'] == image['id']]
                joints = np.array([np.reshape(a['keypoints'], (14, 3))[:, :2] for a in people]).reshape(-1, 14, 2)
                joints = joints if found is None else found(joints)
                yield dict(
                    id=[a['id'] for a in people],
                    img_id=image['id'],
                    img_path='a.png',
                    split=split,
                    raw_ann_info=people or None,
                    gt_instances=dict(bboxes=np.zeros((len(people), 4))),
                    pred_instances=dict(keypoints=joints, keypoint_scores=np.full(joints.shape[:2], 0.5)),
                )

    @pytest.fixture
    def contents(self, exlpose_root):
        folder = exlpose_root / 'Annotations'
        files = {split: folder / f'ExLPose_test_{split}.json' for split in ('LL-N', 'LL-H')}
        return files, {split: json.loads(path.read_text(encoding='utf-8')) for split, path in files.items()}

    def test_whoever_is_right_everywhere_has_all(self, contents):
        files, contents = contents
        metrics = evaluate(build(files, nms_mode='oks_nms'), [*self.samples(contents)])
        assert metrics['LL-N/AP'] == metrics['LL-H/AP'] == 1 and 'LL-N/OKS' not in metrics

    def test_who_is_found_twice_counts_once_after_the_nms(self, contents):
        files, contents = contents
        twice = [*self.samples(contents, lambda joints: np.concatenate([joints, joints + 0.1]))]
        assert evaluate(build(files, nms_mode='oks_nms'), twice)['LL-N/AP'] == 1
        assert evaluate(build(files), twice)['LL-N/AP'] < 1

    def test_the_boxes_are_none(self, contents, tmp_path):
        files, contents = contents
        evaluate(build(files, table_prefix=str(tmp_path / 'table')), [*self.samples(contents)])
        assert Results.read(str(tmp_path / 'table.json')).boxes == 'none'
        assert not (tmp_path / 'table.people.npz').exists()

    def test_nobody_is_found(self, contents):
        files, contents = contents
        metrics = evaluate(build(files, nms_mode='oks_nms'), [*self.samples(contents, lambda joints: joints[:0])])
        assert metrics['LL-N/AP'] == metrics['LL-N/AR'] == 0

    def test_the_best_twenty_people_of_an_image_count(self, contents):
        """The right ones have a score of 0.5 as all the others, who come first."""
        files, contents = contents
        rng = np.random.default_rng(0)
        wrong = lambda joints: np.concatenate([rng.uniform(500, 900, (20, 14, 2)), joints])  # noqa: E731
        assert evaluate(build(files), [*self.samples(contents, wrong)])['LL-N/AR'] == 0
