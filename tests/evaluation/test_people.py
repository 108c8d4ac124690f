import json

import numpy as np
import pytest
from conftest import coco_file, person_annotation
from test_metrics import build, evaluate, labelled, reference_oks, sample

from exlpose_mm.datasets.transforms.darkening import GammaDarken, SimulateLowLight, darken_again
from exlpose_mm.datasets.transforms.packing import PackPairedInputs
from exlpose_mm.evaluation.people import PeopleError, PersonResults
from exlpose_mm.evaluation.results import Results, ResultsError


def annotation_files(root):
    """Of the tiny ExLPose, by split."""
    return {split: root / 'Annotations' / f'ExLPose_test_{split}.json' for split in ('LL-N', 'LL-E', 'WL')}


def predictions(root, seed=0):
    """Predictions with the paths of their images; of every person after the first once more."""
    rng = np.random.default_rng(seed)
    for split, path in annotation_files(root).items():
        content = json.loads(path.read_text(encoding='utf-8'))
        names = {image['id']: image['file_name'] for image in content['images']}
        for number, person in enumerate(labelled(content)):
            keypoints = np.reshape(person['keypoints'], (14, 3))[:, :2] + rng.normal(0, 4, (14, 2))
            one = sample(person, split, keypoints, rng.uniform(0.1, 1, 14))
            one.update(
                img_path=f'{root}/ExLPose/{names[person["image_id"]]}',
                lighting='well_lit' if split == 'WL' else 'low_light',
            )
            yield from [one] * (1 + (number > 0))


def write_results(root, folder, seed=0):
    """Test predictions on the tiny ExLPose; the table's JSON, and the samples."""
    samples = list(predictions(root, seed))
    evaluate(build(annotation_files(root), data_root=str(root), table_prefix=str(folder / 'table')), samples)
    return folder / 'table.json', samples


@pytest.fixture
def written(exlpose_root, tmp_path):
    """What a test left behind, and the samples it saw."""
    return write_results(exlpose_root, tmp_path)


def test_a_test_records_each_person_once(written, exlpose_root):
    path, samples = written
    results = Results.read(str(path))
    people = results.people
    own = {(one['split'], one['id']): one for one in samples}
    assert len(people) == len(own) < len(samples)
    for index in range(len(people)):
        one = own[people.split[index], people.annotation_id[index]]
        annotation = one['raw_ann_info']
        assert str(exlpose_root / people.image[index]) == one['img_path']
        assert people.data_root[index] == str(exlpose_root) and people.simulated[index] == ''
        assert people.image_id[index] == annotation['image_id'] and people.lighting[index] == one['lighting']
        np.testing.assert_allclose(people.keypoints[index], one['pred_instances']['keypoints'][0], rtol=1e-6)
        np.testing.assert_allclose(people.scores[index], one['pred_instances']['keypoint_scores'][0], rtol=1e-6)
        np.testing.assert_allclose(people.labels[index].ravel(), annotation['keypoints'], rtol=1e-6)
        np.testing.assert_allclose(people.box[index], annotation['bbox'])
        assert people.oks[index] == pytest.approx(reference_oks(annotation, one['pred_instances']['keypoints'][0]))
    for split, row in results.rows.items():
        assert people.oks[people.split == split].mean() == pytest.approx(row['OKS'])
    assert list(people.joints[[0, 13]]) == ['left_shoulder', 'neck'] and people.links.shape == (13, 2)


def test_the_record_is_plain_arrays(written):
    path, _ = written
    with np.load(path.with_name('table.people.npz'), allow_pickle=False) as arrays:
        assert {'oks', 'keypoints', 'labels', 'image', 'joints'} <= set(arrays)
        assert arrays['keypoints'].dtype == np.float32 and arrays['image'].dtype.kind == 'U'


def test_round_trip_selection_and_join(written, tmp_path):
    people = Results.read(str(written[0])).people
    dark = people[people.lighting == 'low_light']
    light = people[people.lighting == 'well_lit']
    assert 0 < len(dark) < len(people)
    joined = PersonResults.join([None, dark, light])
    joined.write(str(tmp_path / 'again.people.npz'))
    again = PersonResults.read(str(tmp_path / 'again.people.npz'))
    order = np.r_[np.flatnonzero(people.lighting == 'low_light'), np.flatnonzero(people.lighting == 'well_lit')]
    for name in vars(people):
        expected = getattr(people, name) if name in ('joints', 'links') else getattr(people, name)[order]
        np.testing.assert_array_equal(getattr(again, name), expected)
    assert PersonResults.join([None, None]) is None
    other = PersonResults(**{**vars(light), 'joints': light.joints[::-1]})
    with pytest.raises(PeopleError, match='different joints: left_shoulder.*; neck'):
        PersonResults.join([dark, other])


def test_errors_are_distances_in_units_of_the_box():
    labels = np.zeros((1, 3, 3))
    labels[0, 0] = 10, 20, 2
    labels[0, 2] = 1, 1, 1
    entry = dict(
        split='WL',
        lighting='well_lit',
        data_root='',
        image='a.png',
        simulated='',
        image_id=1,
        annotation_id=1,
        box=[0.0, 0.0, 16.0, 25.0],
        scores=np.ones(3),
        labels=labels[0],
        keypoints=np.array([[13.0, 24.0], [5.0, 5.0], [np.nan, 1.0]]),
        oks=0.5,
    )
    errors = PersonResults.of([entry], ['a', 'b', 'c'], [(0, 1)]).errors
    assert errors[0, 0] == pytest.approx(5 / 20) and np.isnan(errors[0, 1]) and errors[0, 2] == np.inf


def test_people_of_an_earlier_test_do_not_stay(written):
    path, _ = written
    results = Results.read(str(path))
    results.people = None
    results.write(str(path.with_suffix('')))
    assert not path.with_name('table.people.npz').exists() and Results.read(str(path)).people is None


def test_detected_boxes_have_no_people(exlpose_root, tmp_path):
    samples = list(predictions(exlpose_root))
    for one in samples:
        one.pop('raw_ann_info', None)
    evaluate(build(annotation_files(exlpose_root), table_prefix=str(tmp_path / 'table')), samples)
    assert Results.read(str(tmp_path / 'table.json')).people is None


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda arrays: arrays.pop('oks'), 'cannot read .*oks.*test again'),
        (lambda arrays: arrays.update(box=arrays['box'][:, 1:]), r'box has the shape \(\d+, 3\), expected \(\d+, 4\)'),
        (lambda arrays: arrays.update(links=arrays['links'] + 2), 'links name joints that are not among the 14'),
        (lambda arrays: arrays.update(image=np.array([None], dtype=object)), 'cannot read .*allow_pickle'),
    ],
)
def test_damaged_files(written, damage, message):
    path = written[0].with_name('table.people.npz')
    with np.load(path) as arrays:
        content = dict(arrays)
    damage(content)
    np.savez(path, **content)
    with pytest.raises(ResultsError, match=message):
        Results.read(str(written[0]))


def test_a_simulated_frame_can_be_made_again():
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    tested = SimulateLowLight('exlpose-hard', paired=False, seed=3)(dict(img=frame, img_id=7))
    np.testing.assert_array_equal(darken_again(frame, tested['simulated'], 7), tested['img'])
    assert (darken_again(frame, tested['simulated'], 8) != tested['img']).any()
    assert 'simulated' in PackPairedInputs().meta_keys, 'it reaches the metric'
    with pytest.raises(ValueError, match='not how SimulateLowLight makes a frame'):
        darken_again(frame, '{"later": 1}', 7)
    for transform in (GammaDarken(), SimulateLowLight('exlpose')):
        recipe = transform(dict(img=frame, img_id=7))['simulated']
        with pytest.raises(ValueError, match=f'{type(transform).__name__} draws every dark frame anew'):
            darken_again(frame, recipe, 7)


def test_the_recipe_reaches_the_record(tmp_path):
    person = person_annotation(5, 9, (10, 10, 40, 70))
    (tmp_path / 'a.json').write_text(json.dumps(coco_file([(9, 'a.png', [person])])), encoding='utf-8')
    one = sample(person, 'LL-N', np.zeros((14, 2)), np.ones(14))
    one.update(simulated='{"level": "normal"}', img_path='elsewhere/a.png')
    metric = build({'LL-N': tmp_path / 'a.json'}, data_root=str(tmp_path), table_prefix=str(tmp_path / 'table'))
    evaluate(metric, [one])
    people = Results.read(str(tmp_path / 'table.json')).people
    assert (people.simulated[0], people.lighting[0]) == ('{"level": "normal"}', 'low_light')
    assert (people.data_root[0], people.image[0]) == ('', 'elsewhere/a.png')
