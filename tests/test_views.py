"""Which sample has which view."""

import pytest
import torch
from mmpose.structures import PoseDataSample

from exlpose_mm.lighting import LIGHTINGS
from exlpose_mm.views import MOMENTUM_VIEW, BatchViews, SomeImages, lighting_of_view, some_images, views_of


@pytest.mark.parametrize(
    'sample, views',
    [
        (dict(lighting='well_lit'), ('well_lit',)),
        (dict(lighting=LIGHTINGS), LIGHTINGS),
        (dict(lighting=[*LIGHTINGS]), LIGHTINGS),
        (dict(lighting='low_light', views=('low_light', MOMENTUM_VIEW)), ('low_light', MOMENTUM_VIEW)),
    ],
)
def test_the_images_of_a_sample_by_name(sample, views):
    assert views_of(sample) == views


def test_a_sample_that_does_not_say():
    with pytest.raises(KeyError, match=r'the sample a\.png carries no "lighting": put TagLighting'):
        views_of(dict(img_path='a.png'))


def test_a_view_runs_under_a_lighting():
    names = ('low_light', 'well_lit', MOMENTUM_VIEW)
    assert [lighting_of_view(name) for name in names] == ['low_light', 'well_lit', 'low_light']


def test_a_batch_of_all_kinds():
    kinds = [
        dict(lighting='well_lit'),
        dict(),  # a pair
        dict(lighting='low_light', views=('low_light', MOMENTUM_VIEW), labelled=()),
        dict(lighting=LIGHTINGS, views=(*LIGHTINGS, MOMENTUM_VIEW), labelled=('well_lit',)),
    ]
    views = BatchViews([PoseDataSample(metainfo=kind) for kind in kinds])
    assert views.rows == dict(low_light=[1, 2, 3], well_lit=[0, 1, 3])
    assert views.labelled == dict(low_light=[True, False, False], well_lit=[True, True, True])
    assert views.pairs == dict(low_light=[0, 2], well_lit=[1, 2]), 'among the images of each'


@pytest.mark.parametrize('kind', [dict(lighting='low_light'), dict(lighting='well_lit')])
def test_a_batch_without_pairs(kind):
    views = BatchViews([PoseDataSample(metainfo=kind)] * 2)
    assert views.pairs == dict(low_light=[], well_lit=[]) and views.rows[kind['lighting']] == [0, 1]


def test_images_that_are_there():
    assert some_images([None, 'a', None, 'b']) == SomeImages([1, 3], ['a', 'b'])
    rows, images = some_images(torch.ones(2, 3))
    assert rows == [0, 1] and images.shape == (2, 3)
