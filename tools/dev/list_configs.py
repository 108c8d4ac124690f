"""Writes README.md into configs/ and into each of its folders, with tables of the configs; downloads nothing."""

import argparse
import re
from itertools import groupby
from pathlib import Path

import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.logging import MMLogger
from mmpose.registry import MODELS
from mmpose.utils import register_all_modules

import exlpose_mm  # noqa: F401, registers its modules
from exlpose_mm.engine.building import strip_init_cfg

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
  was not measured with this code, for which no weights are published.
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
    'examples': """What to copy for something of one's own, each at most 20 lines.

[Extending](../../docs/extending.md) says more.""",
    'exlpose': """The paper's data set and models, its baselines and ablations, and other heads and backbones.

For comparison: MMPose's model zoo gives 40.1 AP on LL-A for its own HRNet-W32 config, which is
trained on low-light images only, for 210 epochs and with stronger augmentation than the
`td-hm_hrnet-w32` configs here. Those take its network, and all else from this folder.""",
    'lspet': """Real photographs of 14 joints in simulated darkness that is drawn anew in each epoch.""",
}
"""Folder to what its README says above the table."""
COLUMNS = '| config | what it is | parameters (M) | GFLOPs | LL-A AP (paper) |\n|---|---|--:|--:|--:|'


def shipped_configs(root: Path) -> list[Path]:
    """Configs below the folder ``root`` that can be run, relative to it and sorted."""
    return sorted(path.relative_to(root) for path in root.rglob('*.py') if '_base_' not in path.parts)


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
    model = MODELS.build(config.model).eval()
    model.forward = model._forward
    width, height = config.codec['input_size']
    with torch.no_grad():
        info = get_model_complexity_info(model, input_shape=(3, height, width), show_table=False, show_arch=False)
    return info['params'], info['flops']


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
