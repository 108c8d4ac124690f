#!/usr/bin/env bash
# What only a GPU can show: the tests marked `cuda`, then pairs per second of the paper's config, plain and with everything that makes
# it faster. Needs the packages of requirements.txt in PYTHON's environment. Results go to OUT as they come, so that a
# run that is cut off loses nothing.  usage: PYTHON=python3 OUT=work_dirs/gpu bash tools/dev/on_gpu.sh [MINUTES FOR TESTS]
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} out=${OUT:-work_dirs/gpu}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$out"
timeout $((60 * ${1:-4})) "$python" -m pytest -q -m cuda tests -p no:cacheprovider > "$out/tests.txt" 2>&1
tail -n 20 "$out/tests.txt"

config=configs/exlpose/exlpose_cpn_r50_1xb32-32e_exlpose-256x192.py
{
    echo "_base_ = ['$PWD/$config', '$PWD/configs/_base_/fast.py']"
    echo 'optim_wrapper = dict(**_base_.bf16, **_base_.fused)'
    echo 'default_hooks = _base_.channels_last'
    echo "target = dict(type='GenerateTarget', encoder=dict(**_base_.codec, **_base_.joints_only))"
    echo 'pipeline = [_base_.load_pair, _base_.normalise, _base_.train_crop, target, _base_.pack]'
    echo 'train_dataloader = dict(**_base_.all_cores, dataset=dict(pipeline=pipeline))'
} > "$out/fast.py"
for name in fast plain; do
    [ $name = fast ] && which=$out/fast.py || which=$config
    timeout 240 "$python" tools/dev/benchmark.py "$which" --throughput --device "${DEVICE:-cuda}" --out "$out/$name.json" \
        ${THROUGHPUT:---steps 50 --iterations 200} 2>&1 |
        grep -v paramwise_options | tee "$out/$name.txt"
done
