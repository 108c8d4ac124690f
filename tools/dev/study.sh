#!/usr/bin/env bash
# The comparison of docs/results.md at a size that a GPU allows: pairs of LSPET's 6,085 training people, crops cached, then
# ExLPose with a teacher of features, behind a denoiser and not, baseline-all, ExLPose, it and the momentum teacher, and
# ExLPose on a ResNet-50 from random weights, at 256x192 in bfloat16, each tested on every row. Tables, logs and weights
# are in OUT as they come, so that a run that is cut off loses nothing. usage: LSPET14=DIR PRETRAINED=mobilenetv2.pth bash
# tools/dev/study.sh; the other variables are below.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} out=${OUT:-work_dirs/gpu-study} scratch=${SCRATCH:-/tmp/gpu-study} workers=${WORKERS:-$(nproc)}
epochs=${EPOCHS:-30} batch=${BATCH:-128} people=${PEOPLE:-all} minutes=${MINUTES:-9} seeds=${SEEDS:-0}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} DATA_ROOT=$scratch/pairs
started=$SECONDS
mkdir -p "$out" "$scratch/configs"
left() { echo $((60 * minutes - (SECONDS - started))); }
note() { echo "$((SECONDS - started)) s: $*" | tee -a "$out/times.txt"; }

"$python" - "$LSPET14/annotations" "$scratch" "$people" <<'PYTHON' || exit
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
        --level exlpose --person-height 349 --workers "$workers" > "$out/pairs-$split.txt" 2>&1 || exit
done
note pairs

for name in baseline-all exlpose exlpose-features denoised-features dual-teacher; do
    file=$name-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py
    sed "s#'../_base_#'$PWD/configs/_base_#; s/(160, 192)/(192, 256)/; s/(40, 48)/(48, 64)/; s/^max_epochs = .*/max_epochs = $epochs/
        s/lr=5e-4/lr=2e-3/; s/burn_in=0/burn_in=$((epochs * 12))/; /^load_from/d" "configs/dark-lspet/$file" > "$scratch/configs/$file"
done
config() { echo "$scratch/configs/$1-adapted_mobilenetv2_1xb32-1e_dark-lspet-192x160.py"; }
cat > "$scratch/configs/exlpose-r50.py" <<CONFIG
_base_ = ['$(config exlpose)']
pretrained = None
backbone = dict(type='ResNet', depth=50, norm_cfg=dict(type='LSBN2d'), init_cfg=None)
head = dict(head=dict(in_channels=2048), well_lit_teacher=dict(_delete_=True))
model = dict(backbone=dict(_delete_=True, **backbone), head=head)
CONFIG
"$python" tools/cache_crops.py "$(config exlpose)" --out "$scratch/crops.lmdb" --parts train --workers "$workers" > "$out/cache.txt" 2>&1 || exit
note crops

row() {  # NAME CONFIG SEED
    local run=$scratch/$1-$3
    if [ "$(left)" -lt 20 ]; then note "no time for $1, seed $3"; return; fi
    timeout "$(left)" "$python" tools/train.py "$2" --work-dir "$run" --cfg-options "randomness.seed=$3" \
        train_dataloader.batch_size="$batch" train_dataloader.num_workers="$workers" val_dataloader.num_workers="$workers" \
        train_dataloader.dataset.crop_cache="$scratch/crops.lmdb" > "$out/$1-$3.log" 2>&1
    cp "$run"/*/table.md "$out/$1-$3.md"
    "$python" tools/publish_model.py "$2" "$run/epoch_$epochs.pth" "$out/$1-$3" >> "$out/$1-$3.log" 2>&1
    note "$1, seed $3"
}
for seed in $seeds; do
    for name in denoised-features exlpose-features baseline-all exlpose dual-teacher; do
        row $name "$(config $name)" "$seed"
    done
done
(unset PRETRAINED; row exlpose-r50 "$scratch/configs/exlpose-r50.py" 0)  # random weights: it takes no checkpoint
