"""Writes README.md into configs/ and into each of its folders, with tables of the configs; downloads nothing."""

import argparse
import re
from functools import partial
from itertools import groupby
from pathlib import Path

import torch
from mmdet.models.detectors import BaseDetector
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

import exlpose_mm  # noqa: F401, registers its modules
from exlpose_mm.engine.building import strip_init_cfg
from exlpose_mm.lighting import lighting

PAPER_METRIC = 'AP (paper)'
"""Name in ``metafile.yml`` of a number that is the paper's own, not measured with this code."""

HEADER = """# Configs

Written by `tools/dev/list_configs.py`, as is the table in each folder:

{folders}

A name reads `<method>_<head>_<backbone>_<GPUs>xb<pairs a batch>-<epochs>e_<data set>-<input h>x<w>`. What configs share
lies in [`_base_`](_base_), in named parts: data sets with the steps of their pipelines, models, schedules, and the
runtime with its hooks. A config is the difference to its base, at most three files up.

* Parameters include both copies of LSBN, a discriminator and the momentum teacher's average, if there is one.
* GFLOPs are 10^9 multiply-accumulates of one forward pass of one crop, or whole image; a flip test takes two.
* AP is the paper's own on LL-A with annotated boxes, in percent, as a later paper quotes it. It
  was not measured with this code, for which no weights of ExLPose are published.
"""
FOLDERS = {
    'bottomup': """Whole images, of which nobody knows the boxes: DEKR, associative embedding, RTMO; and DA-LLPose.

See [without boxes](../../docs/bottomup.md). The drawn data of the `demo` configs are made by
`python tools/make_demo_data.py --out data/demo-people --size 192 192 --people 2 3 --train 600 --test 150`.""",
    'coco': """Models of MMPose's zoo, which learned in the light, adapted to the dark: COCO in a camera's darkness.""",
    'dark-lspet': """Real photographs of 14 joints in the darkness of a calibrated camera: what results are measured on.

`tools/make_pairs.py` writes the pairs. See [results](../../docs/results.md) and
[two teachers](../../docs/two_teachers.md).""",
    'demo': """Drawn people, in minutes, on a CPU: `bash tools/demo.sh`.""",
    'detection': """MMDetection's detectors of people, in both lightings: on ExLPose, on drawn people, on COCO.

[Detection](../../docs/detection.md) says more. GFLOPs are of the network's dense part, without what a second stage
does for each of its proposals.""",
    'examples': """What to copy for something of one's own, each at most 20 lines.

[Extending](../../docs/extending.md) says more.""",
    'exlpose': """The paper's data set and models, its baselines and ablations, and other heads and backbones.

For comparison: MMPose's model zoo gives 40.1 AP on LL-A for its own HRNet-W32 config, which is
trained on low-light images only, for 210 epochs and with stronger augmentation than the
`td-hm_hrnet-w32` configs here. Those take its network, and all else from this folder.

`exlpose-ocn` tests on ExLPose-OCN: rows A7M3, RICOH3 and their mean, OCN; three lines do so for another model of this
folder. At several scales of the network's input (not of RTMPose, whose weights are for one):

```bash
for scale in 0.5 1 2; do
    mim test exlpose_mm configs/exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-ocn-256x192.py --checkpoint CHECKPOINT \\
        --work-dir work_dirs/ocn-$scale --cfg-options input_scale=$scale
done
python tools/compare.py 0.5=work_dirs/ocn-0.5 1=work_dirs/ocn-1 2=work_dirs/ocn-2 --baseline 1
```""",
    'lspet': """Real photographs of 14 joints in simulated darkness that is drawn anew in each epoch.""",
}
"""Folder to what its README says above the table."""
COLUMNS = '| config | what it is | parameters (M) | GFLOPs | LL-A AP (paper) |\n|---|---|--:|--:|--:|'


def shipped_configs(root: Path) -> list[Path]:
    """Configs below the folder ``root`` that can be run, relative to it and sorted."""
    return sorted(path.relative_to(root) for path in root.rglob('*.py') if '_base_' not in path.parts)


def pose_configs(root: Path) -> list[Path]:
    """Those of :func:`shipped_configs` that train a pose estimator, not a detector."""
    return [path for path in shipped_configs(root) if path.parts[0] != 'detection']


def description(path: Path) -> str:
    """The first line of a config, which is a comment, without its mark and full stop.

    Raises:
        ValueError: If the file starts with anything else.
    """
    match = re.match(r'# *(\S.*?)\.?\s*$', path.read_text(encoding='utf-8').partition('\n')[0])
    if not match:
        raise ValueError(f'{path} does not say in its first line, as a comment, what it is')
    return match[1]


def complexity(path: Path) -> tuple[int, int]:
    """Number of parameters, and of multiply-accumulates of one forward pass of one crop."""
    config = Config.fromfile(path)
    strip_init_cfg(config.model)
    with DefaultScope.overwrite_default_scope(config.default_scope):
        model = MODELS.build(config.model).eval()
    model.forward = partial(dense_part, model) if hasattr(model, 'rpn_head') else model._forward
    width, height = input_size(config)
    with torch.no_grad():
        info = get_model_complexity_info(model, input_shape=(3, height, width), show_table=False, show_arch=False)
    return info['params'], info['flops']


def input_size(config: Config) -> tuple[int, int]:
    """Width and height in pixels of a crop, or of a detector's image."""
    if 'codec' in config:
        return config.codec['input_size']
    return next(step.scale for step in config.test_dataloader.dataset.pipeline if step.type == 'Resize')


def dense_part(detector: BaseDetector, images: torch.Tensor) -> tuple:
    """What a detector of two stages puts out before it chooses proposals."""
    with lighting(detector, 'low_light'):
        return detector.rpn_head(detector.extract_feat(images))


def paper_results(metafile: Path) -> dict[str, float]:
    """File name of a config to the paper's AP on LL-A, as a share of 1."""
    return {
        Path(model['Config']).name: result['Metrics'][PAPER_METRIC]
        for model in load(metafile)['Models']
        for result in model.get('Results', ())
        if result['Dataset'] == 'ExLPose LL-A'
    }


def table_row(root: Path, path: Path, results: dict[str, float]) -> str:
    """One line of its folder's table.

    Args:
        root (Path): The folder of all configs.
        path (Path): A config, relative to it.
        results (dict): As from :func:`paper_results`.
    """
    parameters, flops = complexity(root / path)
    result = f'{100 * results[path.name]:.1f}' if path.name in results else ''
    return (
        f'| [{path.stem}]({path.name}) | {description(root / path)} '
        f'| {parameters / 1e6:.2f} | {flops / 1e9:.2f} | {result} |'
    )


def write_tables(root: Path) -> list[Path]:
    """Write ``README.md`` into the folder of all configs and into each below it; return their paths.

    Raises:
        KeyError: If :data:`FOLDERS` says nothing of a folder.
    """
    results = paper_results(root / 'exlpose' / 'metafile.yml')
    texts, links = {}, []
    for folder, paths in groupby(shipped_configs(root), key=lambda path: path.parent.as_posix()):
        rows = [table_row(root, path, results) for path in paths]
        texts[folder] = '\n'.join([f'# {folder}\n', FOLDERS[folder] + '\n', COLUMNS, *rows]) + '\n'
        first, *_ = FOLDERS[folder].splitlines()
        links.append(f'* [{folder}]({folder}/README.md): {first}')
    texts['.'] = HEADER.format(folders='\n'.join(links))
    for folder, text in texts.items():
        (root / folder / 'README.md').write_text(text, encoding='utf-8')
    return [root / folder / 'README.md' for folder in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--configs', type=Path, default=Path(__file__).resolve().parents[2] / 'configs', help='folder of all configs'
    )
    args = parser.parse_args()
    register_all_modules()
    MMLogger.get_current_instance().setLevel('ERROR')  # the losses, which a forward pass leaves out
    for path in write_tables(args.configs):
        print(f'wrote {path}')


if __name__ == '__main__':
    main()
