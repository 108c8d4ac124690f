#!/usr/bin/env bash
# The comparison of docs/results.md at a size that a GPU allows: pairs of LSPET's 6,085 training people, crops cached, then
# rows at 256x192 in bfloat16, as many at once as PARALLEL says, each tested on every row. From ImageNet's weights: ExLPose with a
# teacher of features, behind a denoiser and not, baseline-all, ExLPose, it and the momentum teacher, and ExLPose on a ResNet-50
# from random weights. With FROM=FOLDER of NAME.pth instead: the shipped configs of 256x192 go on from there. What is there
# already is not made again. Tables, logs and weights are in OUT as they come, so that a run that is cut off loses nothing. What failed is
# in OUT/failed.txt, and the exit status says so.
# usage: LSPET14=DIR PRETRAINED=mobilenetv2.pth bash tools/dev/study.sh [prepare]; the other variables are below.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} out=${OUT:-work_dirs/gpu-study} scratch=${SCRATCH:-/tmp/gpu-study} cores=${WORKERS:-$(nproc)}
epochs=${EPOCHS:-30} batch=${BATCH:-128} people=${PEOPLE:-all} minutes=${MINUTES:-9} seeds=${SEEDS:-0} parallel=${PARALLEL:-1}
from=${FROM:-} test=${TEST:-yes}
[ -n "$from" ] && all='exlpose-features baseline-all' || all='denoised-features exlpose-features baseline-all exlpose dual-teacher exlpose-r50'
rows=${ROWS:-$all}
workers=$((cores / parallel))
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} DATA_ROOT=$scratch/pairs
started=$SECONDS
mkdir -p "$out" "$scratch/configs"
left() { echo $((60 * minutes - (SECONDS - started))); }
note() { echo "$((SECONDS - started)) s: $*" | tee -a "$out/times.txt"; }
fail() { note "failed: $*" | tee -a "$out/failed.txt"; return 1; }

config() { # NAME
    local file=$1-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py
    if [ -n "$from" ]; then
        echo "$PWD/configs/dark-lspet/${file/1e_dark-lspet-192x160/6e_dark-lspet-256x192}"
    else
        echo "$scratch/configs/$file"
    fi
}

write_configs() {
    for name in baseline-all exlpose exlpose-features denoised-features dual-teacher; do
        sed "s#'../_base_#'$PWD/configs/_base_#; s/(160, 192)/(192, 256)/; s/(40, 48)/(48, 64)/; s/^max_epochs = .*/max_epochs = $epochs/
            s/lr=5e-4/lr=2e-3/; s/burn_in=0/burn_in=$((epochs * 12))/; /^load_from/d" \
            "configs/dark-lspet/$name-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py" > "$(config $name)"
    done
    local base
    base=$(config baseline-all)
    grep -q '(192, 256)' "$base" && grep -q "^max_epochs = $epochs" "$base" && ! grep -q '^load_from' "$base" \
        || fail 'the shipped configs have other lines than this script changes' || return
    cat > "$(config exlpose-r50)" <<CONFIG
_base_ = ['$(config exlpose)']
pretrained = None
backbone = dict(type='ResNet', depth=50, norm_cfg=dict(type='LSBN2d'), init_cfg=None)
head = dict(head=dict(in_channels=2048), well_lit_teacher=dict(_delete_=True))
model = dict(backbone=dict(_delete_=True, **backbone), head=head)
CONFIG
}

make_pairs() {
    "$python" - "$LSPET14/annotations" "$scratch" "$people" <<'PYTHON'
import json, sys
folder, scratch, people = sys.argv[1:]
number = None if people == 'all' else int(people)
train, more, val = (json.load(open(f'{folder}/lspet14_{name}.json')) for name in ('train', 'train_more', 'val'))
train = dict(train, **{key: train[key] + more[key] for key in ('images', 'annotations')})
for name, content in dict(train=train, test=val).items():
    kept = content['annotations'][:number]
    ids = {person['image_id'] for person in kept}
    images = [image for image in content['images'] if image['id'] in ids]
    json.dump(dict(content, images=images, annotations=kept), open(f'{scratch}/{name}.json', 'w'))
PYTHON
    for split in train test; do
        "$python" tools/make_pairs.py --ann "$scratch/$split.json" --images "$LSPET14/images" --split $split --out "$DATA_ROOT" \
            --level exlpose --person-height 349 --workers "$cores" > "$out/pairs-$split.txt" 2>&1 \
            || fail "pairs, see $out/pairs-$split.txt" || return
    done
    note pairs
}

cache_crops() {
    "$python" tools/cache_crops.py "$(config exlpose-features)" --out "$scratch/crops.lmdb" --parts train --workers "$cores" \
        > "$out/cache.txt" 2>&1 || fail "crops, see $out/cache.txt" || return
    note crops
}

row() {  # NAME SEED
    local run=$scratch/$1-$2 file status=0 options=()
    file=$(config "$1")
    [ -z "$from" ] || options=(load_from="$from/$1.pth" train_cfg.max_epochs="$epochs" param_scheduler.1.T_max="$epochs")
    if [ "$test" = yes ]; then options+=(train_cfg.val_interval="$epochs"); else options+=(train_cfg.val_interval=1000000); fi
    if [ "$(left)" -lt 20 ]; then note "no time for $1, seed $2"; return; fi
    [ "$1" != exlpose-r50 ] || unset PRETRAINED  # random weights: it takes no checkpoint
    timeout "$(left)" "$python" tools/train.py "$file" --work-dir "$run" --cfg-options "randomness.seed=$2" "${options[@]}" \
        train_dataloader.batch_size="$batch" train_dataloader.num_workers="$workers" val_dataloader.num_workers="$workers" \
        train_dataloader.dataset.crop_cache="$scratch/crops.lmdb" > "$out/$1-$2.log" 2>&1 || status=$?
    if [ "$status" -ne 0 ] && [ "$status" -ne 124 ]; then fail "$1, seed $2, see $out/$1-$2.log"; return; fi
    if [ -e "$run/last_checkpoint" ]; then
        "$python" tools/publish_model.py "$file" "$(cat "$run/last_checkpoint")" "$out/$1-$2" >> "$out/$1-$2.log" 2>&1 \
            || fail "weights of $1, seed $2, see $out/$1-$2.log"
    fi
    if [ "$status" -eq 124 ]; then note "$1, seed $2, was cut off"; return; fi
    [ "$test" != yes ] || cp "$run"/*/table.md "$out/$1-$2.md"
    note "$1, seed $2"
}

rm -f "$out/failed.txt"
[ -n "$from" ] || write_configs || exit
make_pairs || exit  # both go on where they were stopped
cache_crops || exit
[ "${1:-}" != prepare ] || exit 0
for seed in $seeds; do
    for name in $rows; do
        while [ "$(jobs -rp | wc -l)" -ge "$parallel" ]; do wait -n; done
        row "$name" "$seed" &
    done
done
wait
[ ! -e "$out/failed.txt" ]
