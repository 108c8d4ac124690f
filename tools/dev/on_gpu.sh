#!/usr/bin/env bash
# What only a GPU can show: the tests marked `cuda`, then pairs per second of the paper's config, with everything that makes
# it faster, that and one pass, and plain, and of the model in the box (PRETRAINED: MobileNetV2's weights). Needs the packages of requirements.txt
# in PYTHON's environment. Results go to OUT as they come, so that a run that is cut off loses nothing.  usage: PYTHON=python3 OUT=work_dirs/gpu bash tools/dev/on_gpu.sh [SECONDS FOR TESTS]
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} out=${OUT:-work_dirs/gpu}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$out"
OMP_NUM_THREADS=1 timeout "${1:-240}" "$python" -m pytest -q -m cuda tests -n "${JOBS:-8}" --durations 10 -p no:cacheprovider \
    > "$out/tests.txt" 2>&1
tail -n 40 "$out/tests.txt"

config=configs/exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py
{
    echo "_base_ = ['$PWD/$config', '$PWD/configs/_base_/fast.py']"
    echo 'optim_wrapper = dict(**_base_.bf16, **_base_.fused)'
    echo 'default_hooks = _base_.channels_last'
    echo "target = dict(type='GenerateTarget', encoder=dict(**_base_.codec, **_base_.joints_only))"
    echo 'pipeline = [_base_.load_pair, _base_.normalise, _base_.train_crop, target, _base_.pack]'
    echo 'train_dataloader = dict(**_base_.all_cores, dataset=dict(pipeline=pipeline))'
} > "$out/fast.py"
echo "_base_ = ['$out/fast.py']
model = dict(separate_passes=False)" > "$out/one-pass.py"
rates() {  # NAME CONFIG
    timeout 240 "$python" tools/dev/benchmark.py "$2" --throughput --device "${DEVICE:-cuda}" --out "$out/$1.json" \
        ${THROUGHPUT:---steps 50 --iterations 200} 2>&1 |
        grep --line-buffered -v paramwise_options | tee "$out/$1.txt"
}
rates fast "$out/fast.py"
rates one-pass "$out/one-pass.py"
rates box configs/dark-lspet/exlpose-features-adapted_mobilenetv2_1xb32-6e_dark-lspet-256x192.py
rates plain "$config"
