#!/usr/bin/env bash
# The figures of RESULTS.md about the whole family, on small real data sets.
# usage: benchmarks/family.sh DATA WEIGHTS OUT [compare|schemes|svd|recall ...]
# DATA holds the folders raccoon and bccd; WEIGHTS is a state dict of torchvision's mobilenet_v2; all goes to OUT.
# What was interrupted goes on when the same command is given again.
set -euo pipefail
data=$1 weights=$2 out=$3
shift 3
mkdir -p "$out"

begin() { # how to begin or go on with a run in folder $1
    if [[ -e $1/last.safetensors || -e $1/compare.json ]]; then echo --resume; else echo --overwrite; fi
}

scheme() { # a training scheme on BCCD, its best epoch chosen on val, measured on its test pictures
    local run=$out/bccd-$1
    rcnn train "$data/bccd" --scheme "$1" --out "$run" $(begin "$run") --backbone-weights "$weights" --bad-boxes drop \
        --size 256 --epochs 4 --batch 4
    rcnn evaluate "$run" "$data/bccd" --json "$run.json"
}

truncated() { # the knee of the joint run, chosen on val and measured on test
    local run=$out/bccd-approximate-joint svd
    rcnn compress "$run" --sweep "$data/bccd" --out "$out/svd" --overwrite
    svd=$(python -c 'import json, sys; print(",".join(f"{k}={v}" for k, v in json.load(open(sys.argv[1]))["knee"]["ranks"].items()))' "$out/svd/sweep.json")
    [[ -n $svd ]] || { echo "no truncation is borne"; return; }
    rcnn compress "$run" --svd "$svd" --out "$run-svd" --overwrite
    rcnn evaluate "$run-svd" "$data/bccd" --json "$run-svd.json"
}

for part in "${@:-compare}"; do
    case $part in
        compare)
            rcnn compare "$data/raccoon" --out "$out/compare" $(begin "$out/compare") --backbone-weights "$weights" \
                --size 400 --epochs 8 --set-for rcnn:training.epochs=4 --set-for fast-rcnn:model.channels=128 \
                --set-for fast-rcnn:model.head.small_start=true --set-for faster-rcnn:input.short=320 \
                --set-for faster-rcnn:input.long=533 --set-for faster-rcnn:training.epochs=6 --precision fp32 ;;
        schemes) for one in approximate-joint 4-step exact-joint; do scheme "$one"; done ;;
        svd) truncated ;;
        recall)
            rcnn propose "$data/raccoon" --out "$out/raccoon.safetensors" --overwrite
            rcnn propose "$data/raccoon" --recall "$out/raccoon.safetensors" --out "$out/recall.png" --overwrite ;;
        *) echo "family.sh: $part: give compare, schemes, svd or recall" >&2; exit 2 ;;
    esac
done
