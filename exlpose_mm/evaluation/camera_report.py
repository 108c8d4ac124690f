"""How like its camera the simulated one is."""

import os
import os.path as osp
from collections.abc import Sequence
from dataclasses import asdict

import cv2
import numpy as np
from mmengine.fileio import dump

from exlpose_mm.camera.calibration import judge, measure, retake
from exlpose_mm.camera.simulation import Camera
from exlpose_mm.visualization import contact_sheet, lift
from exlpose_mm.writing import markdown_table


def write_report(folder: str, frames: dict[str, np.ndarray], cameras: Sequence[Camera], seed: int = 0) -> str:
    """Compare real frames and their retakes: ``camera.md``, ``camera.json`` and ``camera.jpg``.

    Args:
        folder (str): Where to; made if missing.
        frames (dict[str, np.ndarray]): File name to frame (H, W, 3), uint8, BGR.
        cameras (Sequence[Camera]): The camera of each frame's retake.
        seed (int): Of their noise.

    Returns:
        str: What ``camera.md`` holds: the table and the judge's accuracy.
    """
    retakes = {name: retake(frame, camera, seed) for (name, frame), camera in zip(frames.items(), cameras)}
    tables = {name: (measure(frames[name]), measure(retakes[name])) for name in frames}
    accuracy = judge([*frames.values()], [*retakes.values()])
    os.makedirs(folder, exist_ok=True)
    text = (
        f'{_markdown(tables)}\nReal and simulated patches that a logistic regression tells apart: '
        f'{accuracy:.0%} (50% is perfect)\n'
    )
    with open(osp.join(folder, 'camera.md'), 'w', encoding='utf-8') as file:
        file.write(text)
    rows = {
        osp.basename(name): dict(zip(('real', 'simulated'), table), camera=asdict(camera))
        for (name, table), camera in zip(tables.items(), cameras)
    }
    dump(dict(judge=accuracy, seed=seed, frames=rows), osp.join(folder, 'camera.json'), indent=1)
    pairs = [np.hstack([lift(_middle(frames[name])), lift(_middle(retakes[name]))]) for name in frames]
    sheet = contact_sheet(pairs, ('real, lifted', 'simulated, lifted'))
    cv2.imwrite(osp.join(folder, 'camera.jpg'), sheet)
    return text


def _middle(frame: np.ndarray, size: tuple[int, int] = (480, 270)) -> np.ndarray:
    left, top = (max((whole - part) // 2, 0) for whole, part in zip(frame.shape[1::-1], size))
    return frame[top : top + size[1], left : left + size[0]]


def _markdown(tables: dict[str, tuple[dict[str, float], dict[str, float]]]) -> str:
    lines = [f'{number}: {osp.basename(name)}\n' for number, name in enumerate(tables, 1)]
    header = [f'{what} {number}' for number, _ in enumerate(tables, 1) for what in ('real', 'simulated', 'ratio')]
    rows = [
        [name, *(cell for real, simulated in tables.values() for cell in _compared(real[name], simulated[name]))]
        for name in next(iter(tables.values()))[0]
    ]
    return '\n'.join([*lines, markdown_table([['', *header], *rows]), ''])


def _compared(real: float, simulated: float) -> tuple[str, str, str]:
    return f'{real:.3g}', f'{simulated:.3g}', f'{simulated / max(real, 1e-9):.2f}'
