"""ExLPose and ExLPose-OCN: one lighting, or pairs of a low-light and a well-lit image.

The releases unpack into several folder layouts; files are found in each of them where they
are. Legend of shapes: K = 14 joints.
"""

import os.path as osp
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmengine.dataset import Compose
from mmengine.fileio import dump, load
from mmengine.utils import is_list_of
from mmpose.datasets.datasets import BaseCocoStyleDataset
from mmpose.datasets.transforms import LoadImage
from mmpose.registry import DATASETS
from mmpose.structures.bbox import bbox_xywh2xyxy

from exlpose_mm.datasets.annotations import box_problem, check_annotations, people_of
from exlpose_mm.datasets.crop_cache import CropCache
from exlpose_mm.datasets.files import (
    DatasetError,
    ImageFinder,
    MissingFileError,
    PairingError,
    check_annotated_size,
    check_sizes,
    find_annotation,
    image_size,
    is_turned,
    shared_partners,
)
from exlpose_mm.datasets.reading import holds_list
from exlpose_mm.joints import METAINFO
from exlpose_mm.lighting import LIGHTINGS
from exlpose_mm.splits import ALL_LOW_LIGHT, LONG_NAMES, LOW_LIGHT_TRAINING, OCN_CAMERAS, SHORT_NAMES, WELL_LIT

__all__ = [
    'METAINFO',
    'ExLPoseDataset',
    'ExLPoseOCNDataset',
    'DatasetError',
    'MissingFileError',
    'PairingError',
    'find_annotation',
]


IMAGE_DIRS = ('', 'ExLPose', 'ExLPose-OCN', 'ExLPose-OC')
PAIR_FILE = 'brightPath2darkPath.txt'
TURNING = ('color', 'grayscale')
"""Ways of loading in which mmcv turns an image by its EXIF data."""


def _check_detections(bbox_file: str, ann_file: str, images: list[dict]) -> None:
    """Raise unless ``bbox_file`` holds COCO detections of people in the images of ``ann_file``."""
    if not osp.isfile(bbox_file):
        raise MissingFileError(f'no bbox_file {bbox_file!r}; tools/detect_people.py writes one')
    detections, keys = load(bbox_file), ('image_id', 'category_id', 'bbox', 'score')
    if not is_list_of(detections, dict) or not all(key in d for d in detections for key in keys):
        raise DatasetError(f'{bbox_file}: expected a list of COCO detections with the keys {keys}')
    if not any(d['category_id'] == 1 for d in detections):
        raise DatasetError(f'{bbox_file} has no detection of a person (category_id 1)')
    sizes = {image['id']: (image['width'], image['height']) for image in images}
    ids = [detection['image_id'] for detection in detections]
    unknown = [i for i in ids if not isinstance(i, Integral) or i not in sizes]
    if unknown:
        raise DatasetError(
            f'{bbox_file}: {len(unknown)} image ids, such as {unknown[0]!r}, are not in '
            f'{ann_file}; make it from the same annotation file'
        )
    for number, detection in enumerate(detections):
        problem = detection['category_id'] == 1 and (
            box_problem(detection, sizes[detection['image_id']]) or _score_problem(detection['score'])
        )
        if problem:
            raise DatasetError(f'{bbox_file}: detection {number} {problem}; leave it out')


def _score_problem(score: Any) -> str | None:
    number = isinstance(score, Real) and np.isfinite(float(score))
    return None if number and score > 0 else f'has the score {score!r}, not a positive number'


@DATASETS.register_module()
class ExLPoseDataset(BaseCocoStyleDataset):
    """ExLPose (paper, section 3): people in aligned low-light and well-lit images.

    Beside MMPose's keys a sample carries ``split``, a row of the results table, and
    ``lighting``; with ``lighting='paired'`` instead of the latter ``img_path`` is the
    low-light image and ``well_lit_path`` its partner. In training ``keypoints_visible`` is
    (1, K, 2) float32: labelled (v > 0) and visible (v > 1); MMPose's ``GenerateTarget``
    hands the first to every codec as ``keypoints_visible`` and the second to codecs that ask
    for ``keypoints_visible_weights``. In testing, where nothing takes the two apart, it is
    (1, K): labelled. Annotations without a labelled joint are left out, as in the official
    code; ``num_keypoints`` is counted, since the files' own is sometimes wrong. Boxes are the
    files' own, as in the official code; MMPose would cut them at the frame's last pixel but one.

    With ``data_mode='bottomup'`` a sample is an image with all of its people. Crowds and people without a labelled
    joint are in ``invalid_segs``, by their segmentation or else their box, for ``MaskInvalidPeople``.

    Args:
        lighting (str): ``'paired'``, ``'low_light'`` or ``'well_lit'``. Annotation files of
            the other lighting serve as well: their images are mapped to the partners.
        ann_file (str): See :func:`find_annotation` and, for what it may hold,
            :func:`~exlpose_mm.datasets.reading.read_annotations`.
        data_root (str): Folder of the data set. Defaults to ``'data/ExLPose'``.
        split (str, optional): Defaults to what ``ann_file`` and ``lighting`` tell: LL, LL-N,
            LL-H, LL-E, LL-A or WL.
        pair_file (str, optional): Lines of ``<bright path> <dark path>``. Defaults to
            ``brightPath2darkPath.txt`` if the data root has it, else pairs are found by name.
        unlabelled (bool): Take every box for a person, whether it has joints or not, and leave the
            joints out; for training without labels. Defaults to False.
        crop_cache (str | dict, optional): A file of ``tools/cache_crops.py`` for this data set and
            pipeline, from which samples are read instead of the whole frames. The samples
            are the same, but the pixels that a pipeline cannot reach are zero in the frame. A member of
            a ``CombinedDataset`` is told what follows its own pipeline:
            ``dict(file=FILE, pipeline=test_pipeline)``.
        data_prefix (dict): ``img``, if given, is the only folder where images are looked for.
        **kwargs: As for :class:`mmpose.datasets.BaseCocoStyleDataset`.

    Raises:
        MissingFileError: If an annotation file or an image is not on disk.
        PairingError: If an image has no partner, several, or one of another size.
        DatasetError: If ``lighting`` is unknown, the annotation file is not as
            :func:`~exlpose_mm.datasets.annotations.check_annotations` wants it, a path in it leads out of
            the data root, an image's header cannot be read, says 16 bits or another size than annotated, its EXIF
            data would have the pipeline turn it, nobody has a labelled joint, or ``bbox_file`` is no list
            of people in this file's images, with boxes in the frame and positive scores.
        CropCacheError: If the crop cache is missing, or does not hold these people, these files or
            all that the pipeline reads.
    """

    METAINFO: dict = METAINFO
    ann_file: str
    data_prefix: dict

    def __init__(
        self,
        lighting: str = 'paired',
        ann_file: str = 'ExLPose_train_LL.json',
        data_root: str | None = 'data/ExLPose',
        split: str | None = None,
        pair_file: str | None = None,
        unlabelled: bool = False,
        crop_cache: str | dict | None = None,
        data_prefix: dict = dict(img=''),
        **kwargs: Any,
    ) -> None:
        if lighting not in ('paired', *LIGHTINGS):
            raise DatasetError(f'unknown lighting {lighting!r}; use one of {("paired", *LIGHTINGS)}')
        self.lighting = lighting
        self.split = split or self._default_split(ann_file)
        self.pair_file = pair_file
        self.unlabelled = unlabelled
        cache = dict(file=crop_cache) if isinstance(crop_cache, str) else {**(crop_cache or {})}
        self.crop_cache = CropCache(cache['file'], data_root or '.') if cache else None
        self._following = Compose(cache.get('pipeline', [])).transforms
        self._searches_images = not data_prefix.get('img')
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=data_prefix, **kwargs)

    def _default_split(self, ann_file: str) -> str:
        stem = osp.splitext(osp.basename(ann_file))[0]
        name = stem.rpartition('_')[2]
        if self.lighting == 'well_lit':
            return WELL_LIT
        if name == WELL_LIT:
            return ALL_LOW_LIGHT if '_test_' in stem else LOW_LIGHT_TRAINING
        return SHORT_NAMES.get(name, name if name in LONG_NAMES else LOW_LIGHT_TRAINING)

    def _join_prefix(self) -> None:
        # find_annotation joins the data root, and only when data are loaded.
        ann_file = self.ann_file
        super()._join_prefix()
        self.ann_file = ann_file

    def full_init(self) -> None:
        """Load annotations, and see that pipeline and crop cache fit them."""
        fresh = not self._fully_initialized
        super().full_init()
        if not fresh:
            return
        if any(type(step) is LoadImage and step.color_type in TURNING for step in self.pipeline.transforms):
            self._check_not_turned()
        if self.crop_cache:
            people = (self.get_data_info(i) for i in range(len(self)))
            self.crop_cache.check(people, [*self.pipeline.transforms, *self._following])

    def _check_not_turned(self) -> None:
        for path in sorted({self.get_data_info(i)['img_path'] for i in range(len(self))}):
            if is_turned(path):
                raise DatasetError(
                    f'LoadImage would turn {path} by the orientation in its EXIF data, but not its '
                    'labels: put LoadLabelledImage in its place'
                )

    def prepare_data(self, idx: int) -> dict:
        """Run the pipeline on a person, whose pixels may come from the crop cache."""
        if not self.crop_cache:
            return super().prepare_data(idx)
        person = self.get_data_info(idx)
        return self.pipeline({**person, **self.crop_cache.load(person), 'dataset': self})

    def load_data_list(self) -> list[dict]:
        """Load annotations or detections, and find the image files of each.

        Returns:
            list[dict]: One dict per person (top-down) or per image (bottom-up).
        """
        self.ann_file = find_annotation(self.data_root, self.ann_file)
        finder = ImageFinder(self._image_bases(), self._find_pair_file())
        content = check_annotations(
            self.ann_file,
            self.metainfo['num_keypoints'],
            self.unlabelled,
            size_of=lambda name: image_size(finder.find(name, self._first_lighting)),
        )
        if self.bbox_file:
            _check_detections(self.bbox_file, self.ann_file, content['images'])
        with self._read_by_mmpose(content):
            data_list = super().load_data_list()
        if not data_list:
            raise DatasetError(
                f'{self.ann_file} has no person with a labelled joint; with unlabelled=True boxes suffice'
            )
        sizes = {image['file_name']: (image['width'], image['height']) for image in content['images']}
        images = self._find_images(finder, {info['img_path']: sizes[info['img_path']] for info in data_list})
        for info in data_list:
            info.update(images[info['img_path']], split=self.split)
            if self.bbox_file:
                info['bbox_file'] = self.bbox_file
        return data_list

    @contextmanager
    def _read_by_mmpose(self, content: dict) -> Iterator[None]:
        """Have MMPose find plain file names, and a file in COCO's form, the only one that it reads."""
        ann_file, prefix = self.ann_file, self.data_prefix
        with TemporaryDirectory() as folder:
            try:
                self.data_prefix = dict(img='')
                if holds_list(ann_file):  # of people, or the checks would have refused it
                    self.ann_file = osp.join(folder, osp.basename(ann_file))
                    dump(content, self.ann_file)
                yield
            finally:
                self.ann_file, self.data_prefix = ann_file, prefix

    def parse_data_info(self, raw_data_info: dict) -> dict | None:
        """Parse an annotation; None if it is of no person, or has no labelled joint, but ought to."""
        annotation, joints = raw_data_info['raw_ann_info'], self.metainfo['num_keypoints']
        if not people_of(dict(self.coco.dataset, annotations=[annotation]), self.ann_file):
            return None
        if self.unlabelled:
            annotation = {**annotation, 'keypoints': 3 * joints * [0]}
            raw_data_info = {**raw_data_info, 'raw_ann_info': annotation}
        keypoints = annotation.get('keypoints')
        info = super().parse_data_info(raw_data_info) if keypoints else None
        if info is None or not (self.unlabelled or any(keypoints[2::3]) or self.data_mode == 'bottomup'):
            return None
        visibility = np.array(keypoints[2::3])[None]
        labelled, visible = (np.float32(visibility > level) for level in (0, 1))
        info['bbox'] = bbox_xywh2xyxy(np.float32(annotation['bbox'])[None])  # MMPose's loses edge pixels
        info['num_keypoints'] = int(labelled.sum())
        info['keypoints_visible'] = labelled if self.test_mode else np.stack([labelled, visible], axis=-1)
        return info

    def _get_bottomup_data_infos(self, instance_list: list[dict], image_list: list[dict]) -> list[dict]:
        """People by image; the others are what ``MaskInvalidPeople`` masks."""
        people = [person for person in instance_list if self._is_valid_instance(person)]
        images = super()._get_bottomup_data_infos(people, image_list)
        outlines: dict[int, list] = {image['img_id']: [] for image in images}
        for person in instance_list:
            if not self._is_valid_instance(person):
                outlines.setdefault(person['img_id'], []).append(person.get('segmentation') or _outline(person))
        for image in images:
            image['invalid_segs'] = outlines[image['img_id']]
        return images

    def _is_valid_instance(self, data_info: dict) -> bool:
        # MMPose's would leave out people without joints.
        joints = dict(num_keypoints=1, keypoints=np.ones(1)) if self.unlabelled else {}
        return super()._is_valid_instance({**data_info, **joints})

    @property
    def _first_lighting(self) -> str:
        """Of the image that is ``img_path``."""
        return 'low_light' if self.lighting == 'paired' else self.lighting

    def _find_images(self, finder: ImageFinder, sizes: dict[str, tuple[int, int]]) -> dict[str, dict]:
        """Map the file names of the annotation file, given with their sizes, to the path keys of a sample."""
        found, errors = {}, []
        for name, size in sizes.items():
            try:
                found[name] = self._find_image(finder, name, size)
            except DatasetError as error:
                errors.append(error)
        if self.lighting == 'paired':
            errors += shared_partners(found.values())
        if errors:
            more = f' ({len(errors) - 1} more of {len(sizes)} images)' if errors[1:] else ''
            raise type(errors[0])(f'{self.ann_file}: {errors[0]}{more}')
        return found

    def _find_image(self, finder: ImageFinder, name: str, size: tuple[int, int]) -> dict:
        if self.lighting != 'paired':
            path = finder.find(name, self.lighting)
            check_annotated_size(path, size)
            return dict(img_path=path, lighting=self.lighting)
        low_light = finder.find(name, 'low_light')
        well_lit = finder.partner(low_light, 'well_lit')
        check_sizes(low_light, well_lit)
        check_annotated_size(low_light, size)
        return dict(img_path=low_light, well_lit_path=well_lit)

    def _image_bases(self) -> list[str]:
        if not self._searches_images:
            return [self.data_prefix['img']]
        return [*(osp.join(self.data_root or '', folder) for folder in IMAGE_DIRS), osp.dirname(self.ann_file)]

    def _find_pair_file(self) -> str | None:
        places = [osp.join(self.data_root or '', self.pair_file or PAIR_FILE), self.pair_file or '']
        for place in places:
            if osp.isfile(place):
                return place
        if self.pair_file:
            raise MissingFileError(f'no pair_file {self.pair_file!r}; looked for {", ".join(places)}')
        return None


def _outline(person: dict) -> list[list[float]]:
    """A person's box as one polygon of COCO's."""
    x0, y0, x1, y1 = person['bbox'][0].tolist()
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


@DATASETS.register_module()
class ExLPoseOCNDataset(ExLPoseDataset):
    """ExLPose-OCN (paper, section 3): night photographs of two other cameras, for testing.

    There are no well-lit partners. ``lighting`` is ``'low_light'`` whatever an image looks like, so that all
    of them run under the low-light branch, as in the official code; see :class:`ExLPoseDataset` for the other keys.

    Args:
        ann_file (str): See :func:`find_annotation`.
        data_root (str): Folder of the data set. Defaults to ``'data/ExLPose'``.
        split (str, optional): Row of the results table. Defaults to the camera that
            ``ann_file`` names, A7M3 or RICOH3.
        **kwargs: As for :class:`mmpose.datasets.BaseCocoStyleDataset`.

    Raises:
        DatasetError: As :class:`ExLPoseDataset`, or if ``ann_file`` names no camera.
    """

    def __init__(
        self,
        ann_file: str = 'ExLPose-OC_test_A7M3.json',
        data_root: str | None = 'data/ExLPose',
        split: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(lighting='low_light', ann_file=ann_file, data_root=data_root, split=split, **kwargs)

    def _default_split(self, ann_file: str) -> str:
        for split in OCN_CAMERAS:
            if split in osp.basename(ann_file):
                return split
        raise DatasetError(f'{ann_file!r} names no camera of {OCN_CAMERAS}; set split')
