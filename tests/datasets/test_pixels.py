"""Pixels are where their labels say: files with an EXIF orientation, and files of another size than annotated."""

import json
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import coco_file, person_annotation
from list_configs import shipped_configs
from mmcv.video import VideoReader
from mmengine.config import Config
from mmpose.apis import MMPoseInferencer, init_model
from mmpose.registry import DATASETS, TRANSFORMS
from mmpose.structures import PoseDataSample
from PIL import Image, ImageOps
from test_configs import load, lspet_root  # noqa: F401 (fixture)
from test_crop_cache import pairs
from test_metrics import build as build_metric, sample as metric_sample
from test_pair_making import settings, write_source
from test_tools import DEMO, random_checkpoint
from test_transforms import image

from exlpose_mm import ExLPoseDataset, ExLPoseOCNDataset, LightingVisualizer, LoadLabelledImage, LoadPairedImages
from exlpose_mm.apis.detection import detect_people, list_images
from exlpose_mm.apis.frames import Source
from exlpose_mm.datasets import crop_cache
from exlpose_mm.datasets.exlpose import DatasetError
from exlpose_mm.datasets.making.pairs import make_pairs
from exlpose_mm.datasets.release_check import Known, check_release
from exlpose_mm.datasets.transforms.loading import ImageError
from exlpose_mm.evaluation.rows import SplitError
from exlpose_mm.visualization import draw_people, group_by_image

ROOT = Path(__file__).resolve().parents[2]
TURNS = range(2, 9)


def turn(path, orientation):
    """Make the file a JPEG whose EXIF orientation is this one; returns the pixels as they lie in it, BGR."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(path) as picture:
        pixels = picture.convert('RGB')
    pixels.save(path, 'JPEG', quality=100)
    unturned = cv2.imread(str(path))
    pixels.save(path, 'JPEG', quality=100, exif=exif)
    return unturned


def half_size(path):
    cv2.imwrite(str(path), cv2.imread(str(path))[::2, ::2])


def night(root, size=(128, 96)):
    """A photograph of OCN with one person; returns its path."""
    (root / 'A7M3').mkdir(parents=True)
    path = root / 'A7M3' / 'night.png'
    cv2.imwrite(str(path), image(high=9, size=size[::-1]))
    content = coco_file([(7, 'A7M3/night.png', [person_annotation(0, 7, (10, 10, 40, 60))])])
    (root / 'ExLPose-OC_test_A7M3.json').write_text(json.dumps(content), encoding='utf-8')
    return path


def ocn(root, *steps):
    return ExLPoseOCNDataset(data_root=str(root), test_mode=True, pipeline=list(steps))


def frames(root, word):
    return sorted((root / 'ExLPose' / word).iterdir())


# --- Loading -----------------------------------------------------------------------------


@pytest.mark.parametrize('orientation', TURNS)
def test_a_labelled_image_is_loaded_as_it_lies_in_its_file_and_others_upright(tmp_path, orientation):
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), image())
    pixels = turn(path, orientation)
    load_image = LoadLabelledImage().transform
    np.testing.assert_array_equal(load_image(dict(img_path=str(path), img_id=1))['img'], pixels)
    upright = load_image(dict(img_path=str(path)))
    wanted = np.array(ImageOps.exif_transpose(Image.open(path)))[..., ::-1]
    assert upright['ori_shape'] == upright['img_shape'] == wanted.shape[:2]
    assert np.abs(upright['img'].astype(int) - wanted).mean() < 2  # two decoders


def test_a_pair_of_which_one_is_turned(tmp_path):
    paths = [tmp_path / 'dark.jpg', tmp_path / 'bright.jpg']
    for i, path in enumerate(paths):
        cv2.imwrite(str(path), image(i))
    pixels = turn(paths[0], 3)
    out = LoadPairedImages().transform(dict(img_path=str(paths[0]), well_lit_path=str(paths[1])))
    np.testing.assert_array_equal(out['img'][0], pixels)
    np.testing.assert_array_equal(out['img'][1], cv2.imread(str(paths[1])))


@pytest.mark.parametrize(
    'array',
    [
        np.ones((40, 30, 3)),
        np.ones((40, 30, 3), np.uint16),
        np.ones((40, 30), np.uint8),
        np.ones((40, 30, 4), np.uint8),
    ],
)
def test_an_array_that_is_no_image(array):
    with pytest.raises(ImageError, match=r'\(H, W, 3\) of uint8.*got \(40, 30'):
        LoadLabelledImage().transform(dict(img=array))


@pytest.mark.parametrize('mode, name', [('CMYK', 'a.jpg'), ('CMYK', 'a.tif'), ('LA', 'a.png'), ('P', 'a.png')])
@pytest.mark.parametrize('labelled', [False, True])
def test_files_of_other_colours(tmp_path, mode, name, labelled):
    """Ink is not taken for light, nor an alpha channel or the numbers of a palette for colours."""
    colours = cv2.resize(image(size=(6, 8)), (80, 60), interpolation=cv2.INTER_CUBIC)
    picture = Image.fromarray(colours[..., ::-1]).convert('L' if mode == 'LA' else 'RGB').convert(mode)
    if mode == 'LA':
        picture.putalpha(Image.fromarray(image(5, size=(60, 80))[..., 0]))
    picture.save(tmp_path / name, **(dict(quality=100) if name == 'a.jpg' else {}))
    loaded = LoadLabelledImage().transform(dict(img_path=str(tmp_path / name), **(dict(img_id=1) if labelled else {})))
    wanted = np.array(picture.convert('RGB'))[..., ::-1]
    assert np.abs(loaded['img'].astype(int) - wanted).mean() < 2


def test_sixteen_bits_are_not_read_as_black(tmp_path):
    path = str(tmp_path / 'deep.png')
    cv2.imwrite(path, image().astype(np.uint16))
    with pytest.raises(ImageError, match='deep.png has more than 8 bits'):
        LoadLabelledImage().transform(dict(img_path=path))


# --- Data sets ---------------------------------------------------------------------------


@pytest.mark.parametrize('orientation', TURNS)
def test_a_night_photograph_is_not_turned(tmp_path, orientation):
    pixels = turn(night(tmp_path), orientation)
    loaded = ocn(tmp_path, dict(type='LoadLabelledImage'))[0]
    np.testing.assert_array_equal(loaded['img'], pixels)
    with pytest.raises(DatasetError, match='LoadImage would turn .*night.png.*LoadLabelledImage'):
        ocn(tmp_path, dict(type='LoadImage'))


@pytest.mark.parametrize('orientation', [0, 1, 9])
def test_an_orientation_that_turns_nothing_is_no_matter(tmp_path, orientation):
    pixels = turn(night(tmp_path), orientation)
    np.testing.assert_array_equal(ocn(tmp_path, dict(type='LoadImage'))[0]['img'], pixels)


def test_a_tiff_file_that_opencv_turns_in_any_case(tmp_path):
    path = night(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.open(path).save(path.with_suffix('.tif'), exif=exif)
    annotations = tmp_path / 'ExLPose-OC_test_A7M3.json'
    annotations.write_text(annotations.read_text(encoding='utf-8').replace('night.png', 'night.tif'), encoding='utf-8')
    with pytest.raises(DatasetError, match='night.tif is a TIFF file with an orientation'):
        ocn(tmp_path, dict(type='LoadLabelledImage'))


@pytest.mark.parametrize('name', [str(path) for path in shipped_configs(ROOT / 'configs')])
def test_every_shipped_config_loads_so(name):
    def loaders(node):
        if isinstance(node, dict):
            node = [*node.values(), *([node['type']] if isinstance(node.get('type'), str) else [])]
        if isinstance(node, (list, tuple)):
            return {found for part in node for found in loaders(part)}
        return {node} if isinstance(node, str) and node.startswith('Load') else set()

    config = Config.fromfile(ROOT / 'configs' / name).to_dict()
    found = loaders([config[f'{part}_dataloader'] for part in ('train', 'val', 'test')])
    assert found - {'LoadAnnotations'} and found <= {'LoadLabelledImage', 'LoadPairedImages', 'LoadAnnotations'}


def test_a_stock_data_set_is_not_turned(lspet_root, monkeypatch):  # noqa: F811
    pixels = turn(lspet_root / 'images' / 'im00001.jpg', 6)
    config = load('lspet/baseline-well_mobilenetv2_1xb32-8e_lspet-128x96.py', lspet_root, monkeypatch)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    person = dataset.get_data_info(0)
    loaded = TRANSFORMS.build(config.train_dataloader.dataset.pipeline[0]).transform(person)
    np.testing.assert_array_equal(loaded['img'], pixels)


def test_a_stock_data_set_has_the_annotated_size(lspet_root, monkeypatch):  # noqa: F811
    config = load('lspet/baseline-well_mobilenetv2_1xb32-8e_lspet-128x96.py', lspet_root, monkeypatch)
    dataset = DATASETS.build(config.train_dataloader.dataset)
    path = dataset.get_data_info(0)['img_path']
    assert dataset.prepare_data(0)
    height, width = cv2.imread(path).shape[:2]
    half_size(path)
    sizes = f'is {width // 2} x {height // 2} pixels, annotated as {width} x {height}'
    with pytest.raises(DatasetError, match=f'{Path(path).name} {sizes}'):
        dataset.prepare_data(0)


@pytest.mark.parametrize('spoil', [half_size, lambda path: cv2.imwrite(str(path), image(size=(128, 96)))])
def test_an_image_of_another_size_than_annotated(tmp_path, spoil):
    path = night(tmp_path)
    spoil(path)
    height, width = cv2.imread(str(path)).shape[:2]
    with pytest.raises(DatasetError, match=f'night.png is {width} x {height} pixels, annotated as 128 x 96'):
        ocn(tmp_path)


def test_both_images_of_a_pair_of_another_size(exlpose_root):
    for word in ('dark', 'bright'):
        for path in frames(exlpose_root, word):
            half_size(path)
    with pytest.raises(DatasetError, match=r'_dark_.*is 64 x 48 pixels, annotated as 128 x 96.*3 more of 4'):
        pairs(exlpose_root)


def test_width_and_height_swapped_in_the_annotations(exlpose_root):
    path = exlpose_root / 'Annotations' / 'ExLPose_train_LL.json'
    content = json.loads(path.read_text(encoding='utf-8'))
    for entry in content['images']:
        entry.update(width=entry['height'], height=entry['width'])
    path.write_text(json.dumps(content), encoding='utf-8')
    with pytest.raises(DatasetError, match='is 128 x 96 pixels, annotated as 96 x 128'):
        pairs(exlpose_root)


def test_the_crop_cache_holds_what_the_labels_mean(exlpose_root, tmp_path):
    pixels = {
        str(path): turn(path, 3 if word == 'dark' else 8)
        for word in ('dark', 'bright')
        for path in frames(exlpose_root, word)
    }
    dataset = pairs(exlpose_root)
    path = str(tmp_path / 'crops.lmdb')
    assert crop_cache.build(dataset, path) == (6, [])
    for i in range(len(dataset)):
        person = dataset.get_data_info(i)
        cached = crop_cache.CropCache(path, str(exlpose_root)).load(person)['img']
        x, y = person['bbox'][0].reshape(2, 2).mean(axis=0).astype(int)
        for key, frame in zip(('img_path', 'well_lit_path'), cached):
            np.testing.assert_array_equal(frame[y, x], pixels[person[key]][y, x])


# --- Testing and tools -------------------------------------------------------------------


def test_the_metric_refuses_what_was_loaded_in_another_size(exlpose_root):
    path = exlpose_root / 'Annotations' / 'ExLPose_test_LL-N.json'
    person = json.loads(path.read_text(encoding='utf-8'))['annotations'][0]
    joints = np.reshape(person['keypoints'], (14, 3))[:, :2]
    metric = build_metric({'LL-N': path})
    metric.process([], [dict(metric_sample(person, 'LL-N', joints, np.ones(14)), ori_shape=(96, 128))])
    with pytest.raises(SplitError, match='64 x 48 pixels, but .*LL-N.json annotates 128 x 96'):
        metric.process([], [dict(metric_sample(person, 'LL-N', joints, np.ones(14)), ori_shape=(48, 64))])


def test_make_pairs_darkens_what_the_labels_mean(tmp_path):
    write_source(tmp_path, count=2)
    pixels = turn(tmp_path / 'images' / '0.png', 6)
    half_size(tmp_path / 'images' / '1.png')
    made, problems = make_pairs(settings(tmp_path), str(tmp_path / 'out'))
    assert made == 1 and problems == ['1.png: is 20 x 15 pixels, annotated as 40 x 30']
    bright = cv2.imread(str(tmp_path / 'out' / 'ExLPose' / 'bright' / 'train_000000000000_bright.png'))
    np.testing.assert_array_equal(bright, pixels)


@pytest.mark.parametrize('orientation', [2, 3, 4, 6])
def test_make_pairs_leaves_out_a_tiff_file_that_opencv_turns(tmp_path, orientation):
    write_source(tmp_path, count=2)
    source = tmp_path / 'images' / '0.png'
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.open(source).save(source.with_suffix('.tif'), exif=exif)
    asked = settings(tmp_path)
    annotations = Path(asked.ann_file)
    annotations.write_text(annotations.read_text(encoding='utf-8').replace('0.png', '0.tif'), encoding='utf-8')
    made, (problem,) = make_pairs(asked, str(tmp_path / 'out'))
    assert made == 1 and '0.tif is a TIFF file with an orientation' in problem


def test_the_release_check_looks_at_the_annotated_size(exlpose_root):
    dark, bright = (frames(exlpose_root, word) for word in ('dark', 'bright'))
    turned, small = dark[0], dark[1]
    turn(turned, 6)
    half_size(small)
    half_size(bright[1])
    found = [
        line
        for report in check_release(
            str(exlpose_root), 1, (Known('ExLPose_train_LL.json', 4), Known('ExLPose_test_WL.json', 6))
        )
        for line in report.problems
    ]
    assert f'{small} is 64 x 48 pixels, annotated as 128 x 96' in found
    assert not any(turned.name in line for line in found)


def test_the_detector_sees_what_the_labels_mean(exlpose_root, monkeypatch):
    pixels = {path.name: turn(path, 5) for path in frames(exlpose_root, 'bright')}
    seen = []
    monkeypatch.setattr('exlpose_mm.apis.detection._people', lambda d, img, *_: seen.append(img) or [])
    images = list_images('ExLPose_test_WL.json', str(exlpose_root), 'well_lit')
    assert detect_people(None, images, 'well_lit') == ([], [])
    for path, loaded in zip(images.values(), seen):
        np.testing.assert_array_equal(loaded, pixels[Path(path).name])


def test_labels_are_drawn_where_they_are(tmp_path):
    path = night(tmp_path)
    pixels = turn(path, 3)
    visualizer = LightingVisualizer(inset=0.0)
    visualizer.set_dataset_meta(ExLPoseDataset(lazy_init=True).metainfo)
    turned = np.rot90(pixels, 2)[..., ::-1]
    for img_id, wanted in ((7, pixels[..., ::-1]), (None, turned)):
        sample = PoseDataSample(metainfo=dict(img_path=str(path), **({} if img_id is None else dict(img_id=img_id))))
        drawn = visualizer.add_datasample('a', np.ascontiguousarray(turned), sample, draw_gt=False)
        lifted = visualizer._lifted(np.ascontiguousarray(wanted), sample)
        np.testing.assert_array_equal(drawn, lifted)


def test_a_picture_of_predictions_shows_the_files_own_pixels(exlpose_root, tmp_path):
    dataset = ExLPoseDataset('paired', 'ExLPose_test_LL-A.json', str(exlpose_root), test_mode=True)
    people = group_by_image(dataset)[0]
    dark, bright = (turn(people[0][key], 6) for key in ('img_path', 'well_lit_path'))
    model = init_model(str(DEMO), random_checkpoint(DEMO, tmp_path / 'model.pth'), device='cpu')
    drawn = draw_people([model], people)
    assert drawn.shape == (96, 3 * 128, 3)
    np.testing.assert_array_equal(drawn[:, :128], dark)
    untouched = (drawn[:, -128:] == bright).all(axis=2)
    assert 0.5 < untouched.mean() < 1, 'labels are drawn on the rest'


# --- Pictures and videos of a person -----------------------------------------------------


def test_demo_shows_a_picture_upright(tmp_path):
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), image())
    pixels = turn(path, 6)
    (frame,) = Source(str(path))
    np.testing.assert_array_equal(frame.pixels(), np.rot90(pixels, -1))


@pytest.mark.parametrize('degrees', [0, 90, 180, 270])
def test_demo_shows_a_video_upright(tmp_path, degrees):
    path = tmp_path / 'a.mp4'
    picture = _write_video(path)
    _set_rotation(path, degrees)
    source = Source(str(path))
    wanted = np.rot90(picture, -degrees // 90)
    shown = list(source)
    assert len(shown) == 3
    for frame in shown:
        assert frame.image.shape == wanted.shape
        assert np.abs(frame.image.astype(int) - wanted).mean() < 12


def _write_video(path):
    """Three frames of this picture, which is another in each orientation."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10, (128, 96))
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[:48, :64] = 255
    for _ in range(3):
        writer.write(picture)
    writer.release()
    return picture


def _set_rotation(path, degrees):
    """Write the display matrix of a clockwise rotation into the video's track header."""
    sine, cosine = (round(f(np.radians(degrees))) << 16 for f in (np.sin, np.cos))
    content = bytearray(path.read_bytes())
    start = content.index(b'tkhd') + 4 + 40
    content[start : start + 36] = struct.pack('>9i', cosine, sine, 0, -sine, cosine, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def test_mmpose_inferencer_shows_a_picture_upright(tmp_path):
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), image(high=4, size=(96, 128)))
    pixels = turn(path, 6)
    upright = np.ascontiguousarray(np.rot90(pixels, -1))
    torch.manual_seed(0)
    inferencer = MMPoseInferencer(
        pose2d=str(DEMO),
        pose2d_weights=random_checkpoint(DEMO, tmp_path / 'model.pth'),
        det_model='whole_image',
        device='cpu',
    )
    found, wanted = (next(inferencer(source))['predictions'][0][0]['keypoints'] for source in (str(path), upright))
    np.testing.assert_allclose(found, wanted)


@pytest.mark.parametrize('degrees', [90, 180])
def test_mmpose_inferencer_shows_a_video_upright(tmp_path, degrees):
    path = tmp_path / 'a.mp4'
    picture = _write_video(path)
    _set_rotation(path, degrees)
    frames = list(VideoReader(str(path)))  # what the inferencer reads with
    assert len(frames) == 3
    wanted = np.rot90(picture, -degrees // 90)
    for frame in frames:
        assert frame.shape == wanted.shape and np.abs(frame.astype(int) - wanted).mean() < 12
