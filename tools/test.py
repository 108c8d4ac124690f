"""MMPose's test script; ``--cfg-options data_root=... pretrained=...`` reach our base configs."""

from exlpose_mm.cli import run_mmpose_tool

if __name__ == '__main__':
    run_mmpose_tool('test')
