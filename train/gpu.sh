#!/usr/bin/env bash
# Use a rented machine from its first minute, without a network there:
#
#   here:   python train/gpu_pack.py ../shared/data/polyp/kvasir-seg gpu      # data small enough to travel, wheels
#   there:  bash train/gpu.sh gpu "$OUT" train/recipes/polyp-unet-lite0-352.toml 540 --epochs 60 --batch-size 32
#   here:   rm -f gpu/part-*; cp "$OUT"/part-* gpu/      # the next call goes on from them, after a limit or a loss too
#
# The run is stopped after the given seconds, and its newest checkpoint, member and log come out in files of 15 MiB.
# It needs a Python with torch, found as $PYTHON (python3). With neither GPU nor time it is tried in a dry run on a CPU.
set -euo pipefail
if [ $# -lt 3 ]; then echo "usage: train/gpu.sh PACK OUT RECIPE [SECONDS] [settings …]" >&2; exit 2; fi
mkdir -p "$2"
pack=$(realpath "$1") out=$(realpath "$2") recipe=$3 seconds=${4:-540}
shift $(($# < 4 ? $# : 4))
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
exec 9<"$out"
flock --nonblock 9 || { echo "error: another run works in $out: wait for it, or name another folder." >&2; exit 1; }
[[ $seconds =~ ^[0-9]+([.][0-9]+)?$ ]] || { echo "error: SECONDS must be a number, not $seconds." >&2; exit 2; }
run=$out/.run
rm -rf "$run" # of a call that was killed: only parts go on
mkdir -p "$run"

if compgen -G "$pack/wheels/*.whl" >/dev/null; then
  "$python" -m pip install --quiet --no-index --no-deps --find-links "$pack/wheels" "$pack"/wheels/*.whl
fi
if compgen -G "$pack/part-*" >/dev/null; then
  if ! cat "$pack"/part-* | tar -x -C "$run" 2>/dev/null; then
    rm -rf "$run"
    echo "error: $pack/part-* are not whole, or of two runs: copy those of one run anew." >&2
    exit 1
  fi
fi

status=0
timeout --signal=TERM "$seconds" "$python" "$here/train/train.py" --recipe "$recipe" --data "$pack/data" \
  --output "$run" --checkpoint-steps 25 --workers "${WORKERS:-0}" "$@" || status=$?
[ "$status" -eq 124 ] && echo "Stopped after $seconds s; copy $out/part-* into $pack and give the same command again."

cd "$run"
kept=()
for place in member log.jsonl "$(find . -name 'epoch-*.pt' | sort | tail -n 1)"; do
  if [ -e "$place" ]; then kept+=("$place"); fi
done
if [ ${#kept[@]} -gt 0 ]; then rm -f "$out"/part-*; tar -c "${kept[@]}" | split -b 15M -d - "$out/part-"; fi
cd "$here"
rm -rf "$run"
ls -l "$out"
[ "$status" -eq 124 ] || exit "$status"
