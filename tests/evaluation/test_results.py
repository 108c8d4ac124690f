import json
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest
from conftest import coco_file, person_annotation
from xtcocotools.coco import COCO
from xtcocotools.cocoeval import COCOeval

from exlpose_mm.evaluation.results import MatchedDetections, Results, ResultsError, ordered
from exlpose_mm.joints import METAINFO


def make_scenes(seed=0, images=12):
    """Random people (some ignored, some in a crowd) and detections (some of nobody)."""
    rng = np.random.default_rng(seed)
    scenes = []
    for image_id in range(images):
        people, detections = [], []
        for number in range(rng.integers(0, 5)):
            visible = 0 if rng.random() < 0.15 else 2
            person = person_annotation(
                100 * image_id + number + 1,
                image_id,
                (*rng.uniform(0, 60, 2), 30, 70),
                np.full(14, visible),
                iscrowd=int(rng.random() < 0.15),
            )
            people.append(person)
            for _ in range(rng.integers(0, 3)):
                detections.append(detection(rng, image_id, person, rng.choice([1, 2, 4, 30])))
        if image_id == 3:  # more than the 20 that count
            person = person_annotation(399, image_id, (5, 5, 30, 70))
            people.append(person)
            detections += [dict(detection(rng, image_id, person, 4), score=0.2 + i / 1000) for i in range(25)]
        scenes.append((people, detections))
    return scenes


def detection(rng, image_id, person, spread):
    keypoints = np.reshape(person['keypoints'], (14, 3)) + [0, 0, 1]
    keypoints[:, :2] += rng.normal(0, spread, (14, 2))
    return dict(image_id=image_id, category_id=1, keypoints=keypoints.ravel().tolist(), score=float(rng.uniform()))


def coco_eval(scenes):
    """Evaluate scenes with xtcocotools; they are renumbered, so one may occur twice."""
    images, detections, count = [], [], 0
    for image_id, (people, own) in enumerate(scenes):
        people = [dict(person, image_id=image_id, id=count + i) for i, person in enumerate(people, 1)]
        count += len(people)
        images.append((image_id, f'{image_id}.png', people))
        detections += [dict(one, image_id=image_id) for one in own]
    with redirect_stdout(StringIO()):
        truth = COCO()
        truth.anno_file = []
        truth.dataset = coco_file(images)
        truth.createIndex()
        evaluation = COCOeval(
            truth, truth.loadRes(detections), 'keypoints', np.array(METAINFO['sigmas']), use_area=False
        )
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def matches_of(scenes):
    evaluation = coco_eval(scenes)
    return MatchedDetections.of(evaluation, [f'{number}.png' for number in range(len(scenes))]), evaluation


@pytest.mark.parametrize('seed', range(4))
def test_ap_is_that_of_cocoeval(seed):
    matches, evaluation = matches_of(make_scenes(seed))
    assert 0.1 < evaluation.stats[0] < 0.9
    assert matches.average_precision() == pytest.approx(evaluation.stats[0], abs=1e-9)


def test_ap_is_that_of_cocoeval_where_all_scores_tie():
    scenes = [(people, [dict(one, score=0.5) for one in own]) for people, own in make_scenes(1)]
    matches, evaluation = matches_of(scenes)
    assert matches.average_precision() == pytest.approx(evaluation.stats[0], abs=1e-9)


@pytest.mark.parametrize('seed', range(3))
def test_weights_count_images_as_if_they_occurred_so_often(seed):
    scenes = make_scenes(seed)
    matches, _ = matches_of(scenes)
    weights = np.random.default_rng(seed).multinomial(len(scenes), [1 / len(scenes)] * len(scenes))
    assert weights.max() > 1 and weights.min() == 0
    drawn = [scene for scene, weight in zip(scenes, weights) for _ in range(weight)]
    expected = coco_eval(drawn).stats[0]
    assert abs(expected - matches.average_precision()) > 1e-3
    assert matches.average_precision(weights) == pytest.approx(expected, abs=1e-9)


def test_ap_without_people_or_detections():
    def matches(people, outcomes):
        count = np.shape(outcomes)[1]
        return MatchedDetections(
            np.array(['a', 'b']), np.array(people), np.zeros(count, int), np.ones(count), np.array(outcomes, np.int8)
        )

    assert np.isnan(matches([0, 0], [[-1], [-1]]).average_precision())
    assert matches([1, 0], np.zeros((2, 0))).average_precision() == 0
    assert matches([1, 0], [[1], [0]]).average_precision() == pytest.approx(0.5)
    assert np.isnan(matches([1, 0], [[1], [1]]).average_precision([0, 1]))


def test_bootstrap_is_seeded_and_spreads_like_the_images():
    matches, _ = matches_of(make_scenes(2, images=40))
    samples = matches.bootstrap(200, seed=3)
    assert samples.shape == (200,)
    np.testing.assert_array_equal(samples, matches.bootstrap(200, seed=3))
    assert (samples != matches.bootstrap(200, seed=4)).any()
    assert samples.min() < matches.average_precision() < samples.max()
    fewer, _ = matches_of(make_scenes(2, images=10))
    assert fewer.bootstrap(200, seed=3).std() > 1.3 * samples.std()


def test_equal_file_names_are_drawn_together():
    """Twice the same photographs are not twice as many; the spread must not shrink."""
    scenes = make_scenes(2, images=20)
    single = MatchedDetections.of(coco_eval(scenes), [f'{n}.png' for n in range(20)])
    double = MatchedDetections.of(coco_eval(scenes * 2), [f'{n % 20}.png' for n in range(40)])
    np.testing.assert_allclose(double.bootstrap(50, 0), single.bootstrap(50, 0), atol=1e-9)


def test_written_results_come_back_without_pickle(tmp_path):
    matches, evaluation = matches_of(make_scenes())
    results = Results(
        {'LL-A': {'AP': evaluation.stats[0]}, 'all': {'AP': 1 / 3, 'AR': 0.25}},
        'detected',
        {'all': ['LL-A']},
        {'LL-A': matches},
    )
    results.write(str(tmp_path / 'new' / 'table'))
    back = Results.read(str(tmp_path / 'new' / 'table.json'))
    assert (back.rows, back.boxes, back.means) == (results.rows, 'detected', results.means)
    for name in ('images', 'people', 'owners', 'scores', 'outcomes'):
        np.testing.assert_array_equal(getattr(back.matches['LL-A'], name), getattr(matches, name))
    assert (tmp_path / 'new' / 'table.md').read_text(encoding='utf-8').splitlines() == [
        'AP, AR and OKS in percent; boxes: detected',
        '',
        '| split | AP | AR |',
        '| --- | ---: | ---: |',
        f'| LL-A | {100 * evaluation.stats[0]:.1f} | - |',
        '| all | 33.3 | 25.0 |',
    ]


def test_a_table_without_arrays_has_no_matches(tmp_path):
    path = tmp_path / 'table.json'
    path.write_text(json.dumps(dict(rows={'WL': {'AP': 0.5}}, boxes='none', later='ignored')), encoding='utf-8')
    assert Results.read(str(path)) == Results({'WL': {'AP': 0.5}}, 'none')


def test_numbers_of_plain_mmpose(tmp_path):
    path = tmp_path / 'out.json'
    path.write_text(
        json.dumps({'coco/AP': 0.4, 'coco/AP .5': 0.6, 'coco/AP (M)': 0.1, 'LL-E/AR': 0.3, 'time': 2.5}),
        encoding='utf-8',
    )
    assert Results.read(str(path)).rows == {'LL-A': {'AP': 0.4, 'AP50': 0.6}, 'LL-E': {'AR': 0.3}}
    assert Results.read(str(path), row='WL').rows['WL'] == {'AP': 0.4, 'AP50': 0.6}
    assert Results.read(str(path)).boxes == 'not stated'


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'cannot read .*No such file'),
        ('{', 'cannot read'),
        ('[1]', 'holds a list'),
        ('{"time": 1}', r"no key like \"coco/AP\", only \['time'\]"),
        ('{"coco/AP": "0.5"}', "coco/AP is '0.5', no number"),
        ('{"coco/AP": null}', 'coco/AP is None, no number'),
        ('{"rows": {"WL": {"AP": "0.5"}}}', "WL/AP is '0.5', no number"),
    ],
)
def test_files_without_results(tmp_path, content, message):
    path = tmp_path / 'table.json'
    if content is not None:
        path.write_text(content, encoding='utf-8')
    with pytest.raises(ResultsError, match=message):
        Results.read(str(path))


def test_broken_arrays(tmp_path):
    (tmp_path / 'table.json').write_text('{"rows": {}}', encoding='utf-8')
    (tmp_path / 'table.npz').write_bytes(b'no zip')
    with pytest.raises(ResultsError, match=r'cannot read .*table\.npz'):
        Results.read(str(tmp_path / 'table.json'))


def test_order_of_rows():
    assert ordered(['x', 'OCN', 'WL', 'LL-A', 'LL-E']) == ['LL-E', 'LL-A', 'WL', 'OCN', 'x']
    assert ordered(['a', 'b', 'a'], order=['b', 'c']) == ['b', 'a']
