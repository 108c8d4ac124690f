"""The check of an unpacked release: what it counts and what it finds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from exlpose_mm.datasets.release_check import Known, check_release, complete

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    Known('ExLPose_train_LL.json', 4),
    Known('ExLPose_test_LL-N.json', 2, 3),
    Known('ExLPose_test_LL-H.json', 2, 4),
    Known('ExLPose_test_WL.json', 6, 10),
)


def problems(root, release=TINY):
    reports = check_release(str(root), 2, release)
    assert complete(reports) is False
    return [line for report in reports for line in report.problems]


def change(root, name, edit):
    path = root / 'Annotations' / f'ExLPose_{name}.json'
    content = json.loads(path.read_text(encoding='utf-8'))
    edit(content)
    path.write_text(json.dumps(content), encoding='utf-8')


def dark(root, word='_dark_'):
    return sorted(path for path in (root / 'ExLPose').rglob('*.png') if word in path.name)


def test_a_whole_release(exlpose_root):
    reports = check_release(str(exlpose_root), 2, TINY)
    assert complete(reports)
    assert [(r.images, r.people) for r in reports] == [(4, 6), (2, 3), (2, 4), (6, 10)]


def test_other_counts(exlpose_root):
    (report,) = check_release(str(exlpose_root), 2, (Known('ExLPose_test_LL-N.json', 3, 3),))
    assert not report.problems and not complete([report])
    assert '2 (not 3)' in report.row()


def test_a_missing_file_and_a_broken_one(exlpose_root):
    (exlpose_root / 'Annotations' / 'ExLPose_train_LL.json').unlink()
    (exlpose_root / 'Annotations' / 'ExLPose_test_LL-N.json').write_text('{"images": [', encoding='utf-8')
    first, second = problems(exlpose_root, TINY[:2])
    assert 'no annotation file' in first and 'ExLPose_test_LL-N.json is no JSON file' in second


def test_an_unreadable_image_and_one_of_another_size(exlpose_root):
    first, second = dark(exlpose_root)[:2]
    first.write_bytes(first.read_bytes()[:300])
    cv2.imwrite(str(second), np.zeros((10, 12, 3), np.uint8))
    found = problems(exlpose_root)
    assert any('cannot read' in line and first.name in line for line in found)
    assert any('differ in size' in line and '(12, 10)' in line for line in found)


def test_exchanged_and_black_images(exlpose_root):
    first, second = dark(exlpose_root)[:2]
    bright = dark(exlpose_root, '_bright_')[0]
    content = bright.read_bytes()
    bright.write_bytes(first.read_bytes())
    first.write_bytes(content)
    cv2.imwrite(str(second), np.zeros((96, 128, 3), np.uint8))
    found = problems(exlpose_root)
    assert any(f'exchanged: {first} is brighter (mean 7' in line and f'than {bright} (0.' in line for line in found)
    assert any(line == f'{second} is black' for line in found)


def test_a_missing_partner(exlpose_root):
    dark(exlpose_root, '_bright_')[0].unlink()
    assert any('no bright partner' in line for line in problems(exlpose_root))


@pytest.mark.parametrize(
    'edit, message',
    [
        (dict(bbox=[10, 10, 0, 5]), 'without area'),
        (dict(bbox=[100, 10, 60, 5]), 'leaves the frame'),
        (dict(bbox=[1, 2, 3]), 'no box'),
        (dict(keypoints=[500, 5, 2] + 13 * [5, 5, 2]), '1 labelled joints outside'),
        (dict(keypoints=[5, 5, 2]), '14 joints'),
    ],
)
def test_a_wrong_person(exlpose_root, edit, message):
    change(exlpose_root, 'test_LL-N', lambda content: content['annotations'][0].update(edit))
    (line,) = problems(exlpose_root, TINY[1:2])
    assert message in line and 'person 0' in line


def test_unlabelled_joints_may_be_anywhere(exlpose_root):
    change(
        exlpose_root,
        'test_LL-N',
        lambda content: content['annotations'][0].update(keypoints=[-500, 5, 0] + 13 * [5, 5, 2]),
    )
    assert complete(check_release(str(exlpose_root), 2, TINY[1:2]))


def test_people_of_an_unknown_image(exlpose_root):
    change(exlpose_root, 'test_LL-N', lambda content: content['annotations'][0].update(image_id=77))
    (line,) = problems(exlpose_root, TINY[1:2])
    assert 'unknown image 77' in line


def run(*args):
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools' / 'browse_dataset.py'), *map(str, args)],
        capture_output=True,
        encoding='utf-8',
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )


def test_the_tool_says_what_is_wrong_and_exits_so(exlpose_root):
    done = run('--check', '--data-root', exlpose_root)
    assert done.returncode == 1 and '4 (not 2065)' in done.stdout
    assert 'not the release' in done.stderr
