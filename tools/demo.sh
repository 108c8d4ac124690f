#!/usr/bin/env bash
# Set up (once), then the main job on generated data: draw it, train ExLPose's method on the CPU,
# print AP per lighting before and after, and write a picture. Minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
bash tools/setup.sh

config=configs/demo/exlpose_r18_1xb16-10e_demo-128x96.py
work_dir=work_dirs/demo
python=.venv/bin/python
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

echo "demo: 1/3 drawing people into data/demo"
$python tools/make_demo_data.py --out data/demo
echo "demo: 2/3 training (the log shows losses and the time left; tables follow)"
rm -rf "$work_dir"
$python tools/train.py "$config" --work-dir "$work_dir" --cfg-options data_root=data/demo
echo "demo: 3/3 predictions on dark images"
$python tools/show_predictions.py "$config" "$work_dir/epoch_10.pth" \
    --data-root data/demo --out "$work_dir/predictions.png"
echo "demo: done. Checkpoints, log and picture: $work_dir"
