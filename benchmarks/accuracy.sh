#!/usr/bin/env bash
# The accuracy figures of RESULTS.md: trains and evaluates on small real data sets.
# usage: benchmarks/accuracy.sh DATA WEIGHTS OUT [bccd|raccoon|coco_tiny ...]
# DATA holds folders of these names; WEIGHTS is a state dict of torchvision's mobilenet_v2; runs and JSON go to OUT.
set -euo pipefail
data=$1 weights=$2 out=$3
shift 3
mkdir -p "$out"

measure() { # name, split, which weights; the rest are options of training
    local name=$1 split=$2 which=$3
    shift 3
    rcnn train "$data/$name" --out "$out/$name" --overwrite --backbone-weights "$weights" --bad-boxes drop "$@"
    rcnn evaluate "$out/$name" "$data/$name" --split "$split" --weights "$which" --json "$out/$name.json"
}

for name in "${@:-bccd raccoon coco_tiny}"; do
    for one in $name; do
        case $one in
            bccd) measure bccd test last --train-split trainval --val-split none --size 480 --epochs 8 --batch 4 ;;
            raccoon) measure raccoon val best --size 320 --epochs 6 ;;
            coco_tiny) # can it learn by heart what it is shown?
                measure coco_tiny train last --val-split none --size 320 --epochs 35 --lr 0.0003 \
                    --set optimizer=adamw --set schedule=cosine --set flip=0 --set model.head.samples=128 ;;
            *) echo "accuracy.sh: $one: give bccd, raccoon or coco_tiny" >&2; exit 2 ;;
        esac
    done
done
