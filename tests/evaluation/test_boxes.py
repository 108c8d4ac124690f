"""AP of boxes by row, against pycocotools on the same people and boxes."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from exlpose_mm.evaluation.boxes import LightingBoxMetric
from exlpose_mm.evaluation.comparison import read_results
from exlpose_mm.evaluation.rows import PredictionError, SplitError

SPLITS = {'LL-N': 'test_LL-N', 'LL-H': 'test_LL-H', 'LL-E': 'test_LL-E', 'WL': 'test_WL'}
FILES = {row: f'ExLPose_{name}.json' for row, name in SPLITS.items()}


def contents(root, split) -> dict:
    return json.loads((root / 'Annotations' / FILES.get(split, f'ExLPose_test_{split}.json')).read_text('utf-8'))


def build(root, **kwargs) -> LightingBoxMetric:
    metric = LightingBoxMetric(**{**dict(ann_files=FILES, data_root=str(root), table_prefix=''), **kwargs})
    metric.dataset_meta = dict(classes=('person',))
    return metric


def predictions(content, split, shift=0.0, extra=0, seed=0) -> list[dict]:
    """For each image its people's boxes, moved at random, and some more."""
    rng = np.random.default_rng(seed)
    samples = []
    for image in content['images']:
        boxes = [a['bbox'] for a in content['annotations'] if a['image_id'] == image['id']]
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes], np.float32).reshape(-1, 4)
        boxes = boxes + rng.normal(0, shift, boxes.shape).astype(np.float32) if shift else boxes
        corner = rng.uniform(0, 60, (extra, 2))
        wrong = np.concatenate([corner, corner + rng.uniform(5, 40, (extra, 2))], axis=1).astype(np.float32)
        boxes = np.concatenate([boxes, wrong])
        found = dict(
            bboxes=torch.from_numpy(boxes),
            scores=torch.from_numpy(rng.uniform(0.1, 1, len(boxes)).astype(np.float32)),
            labels=torch.zeros(len(boxes), dtype=torch.long),
        )
        size = (image['height'], image['width'])
        samples.append(dict(pred_instances=found, img_id=image['id'], ori_shape=size, split=split, img_path='a.png'))
    return samples


def everything(root, **kwargs) -> list[dict]:
    return [s for number, row in enumerate(FILES) for s in predictions(contents(root, row), row, seed=number, **kwargs)]


def evaluate(metric, samples) -> dict:
    metric.process({}, samples)
    return metric.evaluate(len(samples))


def reference(content, samples, tmp_path) -> dict:
    """pycocotools on one file."""
    people = [dict(a, area=a['bbox'][2] * a['bbox'][3], id=i) for i, a in enumerate(content['annotations'], 1)]
    (tmp_path / 'truth.json').write_text(json.dumps(dict(content, annotations=people)), encoding='utf-8')
    found = [
        dict(image_id=s['img_id'], category_id=1, bbox=[x1, y1, x2 - x1, y2 - y1], score=float(score))
        for s in samples
        for (x1, y1, x2, y2), score in zip(s['pred_instances']['bboxes'].tolist(), s['pred_instances']['scores'])
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / 'truth.json'))
        evaluation = COCOeval(truth, truth.loadRes(found), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(('AP', 'AP50', 'AP75', 'AR'), evaluation.stats[[0, 1, 2, 8]]))


@pytest.mark.parametrize('shift, extra', [(0.0, 0), (3.0, 0), (6.0, 3), (0.0, 4)])
def test_each_row_is_what_pycocotools_says(exlpose_root, tmp_path, shift, extra):
    samples = everything(exlpose_root, shift=shift, extra=extra)
    metrics = evaluate(build(exlpose_root), samples)
    for row in (*FILES, 'LL-A'):
        parts = ('LL-N', 'LL-H', 'LL-E') if row == 'LL-A' else (row,)
        own = [sample for sample in samples if sample['split'] in parts]
        for column, value in reference(contents(exlpose_root, row), own, tmp_path).items():
            assert metrics[f'{row}/{column}'] == pytest.approx(value, abs=1e-9), (row, column)
    assert metrics['LL-A/AP'] == pytest.approx(1) if not shift and not extra else metrics['LL-A/AP'] < 1


def test_crowds_are_neither_found_nor_missed(exlpose_root):
    path = exlpose_root / 'Annotations' / FILES['LL-N']
    content = contents(exlpose_root, 'LL-N')
    content['annotations'][0]['iscrowd'] = 1
    path.write_text(json.dumps(content), encoding='utf-8')
    everybody = predictions(content, 'LL-N')
    without = predictions(content, 'LL-N')
    first = without[0]['pred_instances']
    without[0]['pred_instances'] = {key: value[1:] for key, value in first.items()}
    for samples in (everybody, without):
        assert evaluate(build(exlpose_root), samples)['LL-N/AP'] == pytest.approx(1)


def test_who_has_no_joints_is_to_be_found_too(exlpose_root):
    content = contents(exlpose_root, 'LL-H')
    samples = predictions(dict(content, annotations=[a for a in content['annotations'] if a['id'] != 90]), 'LL-H')
    assert evaluate(build(exlpose_root), samples)['LL-H/AP'] < 0.99


def test_nobody_found_is_no_ap(exlpose_root):
    samples = everything(exlpose_root)
    for sample in samples:
        sample['pred_instances'] = {key: value[:0] for key, value in sample['pred_instances'].items()}
    assert set(evaluate(build(exlpose_root), samples).values()) == {0.0}


def test_boxes_of_other_classes_do_not_count(exlpose_root):
    samples = everything(exlpose_root)
    metric = build(exlpose_root)
    metric.dataset_meta = dict(classes=('car', 'person'))
    for sample in samples:
        found = sample['pred_instances']
        found['labels'] += 1
        cars = dict(found, labels=torch.zeros_like(found['labels']), scores=torch.ones_like(found['scores']))
        sample['pred_instances'] = {key: torch.cat([found[key], cars[key]]) for key in found}
    assert evaluate(metric, samples)['LL-A/AP'] == pytest.approx(1)


def test_a_row_without_its_parts_is_left_out(exlpose_root):
    samples = [sample for sample in everything(exlpose_root) if sample['split'] != 'LL-E']
    metrics = evaluate(build(exlpose_root), samples)
    assert {key.partition('/')[0] for key in metrics} == {'LL-N', 'LL-H', 'WL'}


def test_the_table_is_written_and_compared(exlpose_root, tmp_path):
    prefix = str(tmp_path / 'table')
    metrics = evaluate(build(exlpose_root, table_prefix=prefix), everything(exlpose_root, shift=4.0, extra=2))
    assert (tmp_path / 'table.md').read_text(encoding='utf-8').startswith('AP and AR of boxes in percent\n')
    results = read_results([f'detector={prefix}.json'])['detector']
    assert results.measured == 'boxes' and results.people is None
    for row, matches in results.matches.items():
        assert matches.average_precision() == pytest.approx(metrics[f'{row}/AP'], abs=1e-6)


def test_predictions_may_be_written_and_no_more(exlpose_root, tmp_path):
    prefix = str(tmp_path / 'found')
    samples = predictions(contents(exlpose_root, 'LL-N'), 'LL-N')
    assert evaluate(build(exlpose_root, format_only=True, outfile_prefix=prefix), samples) == {}
    written = json.loads((tmp_path / 'found.LL-N.bbox.json').read_text(encoding='utf-8'))
    assert len(written) == sum(len(sample['pred_instances']['scores']) for sample in samples)


@pytest.mark.parametrize('name', ['bboxes', 'scores'])
def test_what_is_no_number_is_refused(exlpose_root, name):
    samples = everything(exlpose_root)
    samples[0]['pred_instances'][name].flatten()[0] = float('nan')
    with pytest.raises(PredictionError, match=f'the predicted {name} of a.png are not finite'):
        evaluate(build(exlpose_root), samples)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(split=None), 'carries no "split"'),
        (dict(split='OCN'), "no ground truth for split 'OCN'"),
        (dict(ori_shape=(10, 20)), 'was loaded with 20 x 10 pixels'),
        (dict(img_id=77), "image 77 of split 'LL-N' is not in its ground truth"),
    ],
)
def test_a_sample_of_no_row_is_refused(exlpose_root, change, message):
    samples = everything(exlpose_root)
    samples[0].update(change)
    with pytest.raises(SplitError, match=message):
        evaluate(build(exlpose_root), samples)
