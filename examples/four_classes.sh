#!/bin/bash
# Four labels that overlap, one of them small and one on half the images: train, fit, calibrate, evaluate, predict, export.
# Given again, it goes on with a training that was stopped.
#
#     bash examples/four_classes.sh                                     # drawn films
#     REAL=../shared/data/chest/covid-cxr bash examples/four_classes.sh # real ones, 30 films (General Blockchain; Cohen 2020)
set -euo pipefail
OUT=${OUT:-runs/four-classes}
DATA=$OUT/data

if [ -n "${REAL:-}" ]; then
    # Thirteen classes united under four labels. Masks are written anew, with the division; the images stay where they are.
    [ -e "$DATA/manifest.json" ] || medseg inspect "$REAL" --write-masks "$DATA" --labels lungs=Left_Lung,Right_Lung \
        heart=Cardiomediastinum airways=Airways finding=Consolidation,Ground_Glass_Opacities,Pleural_Effusion,Pneumothorax
    DATA=$DATA/manifest.json
else
    python examples/four_classes.py "$DATA"
    # A training's --seed deals films without a division, too: the second member would learn from what the first is tested on.
    [ -e "$DATA/splits.json" ] || medseg inspect "$DATA" --write-splits "$DATA/splits.json"
fi

# Start, size, batch, epochs and learning rate are chosen from the films. Labels in alphabetical order: a marked pixel of
# the small airways counts four times, one of the rare finding twice.
medseg train --data "$DATA" --name weighted --output "$OUT/weighted" --labels airways finding heart lungs \
    --task multilabel --loss "bce + dice" --label-weights 4 2 1 1
# The second member learns by other losses: hard pixels count more (focal), a missed pixel more than a false one (tversky).
medseg train --data "$DATA" --name focal --output "$OUT/focal" --labels airways finding heart lungs \
    --task multilabel --loss "10*focal + tversky(0.3, 0.7)" --seed 1

medseg fit "$OUT/weighted/member" "$OUT/focal/member" --data "$DATA" --output "$OUT/ensemble" --name four-classes
medseg calibrate "$OUT/ensemble" "$DATA"
medseg evaluate "$OUT/ensemble" "$DATA" --output "$OUT/report"
medseg predict "$OUT/ensemble" "$(find "$OUT/data" "${REAL:-$OUT/data}" -path '*images/*' | sort | head -1)" --output "$OUT/results"
medseg export "$OUT/ensemble" --onnx "$OUT/four-classes.onnx"
echo "On the page: MEDSEG_ENSEMBLES=$OUT/ensemble medseg app"
