#!/usr/bin/env bash
# All figures of docs/vidseg-nano.md that a change of weights moves, but for times.
#
#   benchmarks/card.sh DATA PARTED [WEIGHTS]
#
# DATA holds davis_like/ (nine sequences of DAVIS 2016 val, and dogs-jump) and PARTED is what recipes/nano_data.py
# makes. WEIGHTS is a file; without it, those of the package are measured. What is printed names its figures.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
data=$(realpath "$1") parted=$(realpath "$2")
given=()
[ $# -lt 3 ] || given=(--weights "$(realpath "$3")")
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python
export OMP_NUM_THREADS=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

measure() { # NAME BENCHMARK ARGUMENTS...
    local name=$1 benchmark=$2
    shift 2
    "$python" "benchmarks/$benchmark.py" "$@" "${given[@]}" > "$folder/$name" 2>&1 \
        || echo "$benchmark failed" >> "$folder/$name"
}

dev=(--root "$parted/davis_dev" --set ImageSets/2016/all.txt)
{
    for prompt in mask box click; do
        measure "1 dev, $prompt" davis "${dev[@]}" --prompt $prompt
        measure "2 dev from four starts, $prompt" davis "${dev[@]}" --prompt $prompt --starts 4
    done
    measure "3 people" stills --root "$parted/stills_dev"
    measure "4 clicks on dev" corrections "${dev[@]}"
} &
{
    for prompt in mask box click; do
        measure "5 the nine, $prompt" davis --root "$data/davis_like" --prompt $prompt
    done
    measure "6 clicks on the nine" corrections --root "$data/davis_like"
    measure "7 vanishing, 60 clips" vanishing --clips 60
    measure "7 vanishing, 20 other clips" vanishing --clips 20 --seed 4000000000
    measure "7 vanishing on dev" vanishing --davis "$parted/davis_dev" --set ImageSets/2016/all.txt
    measure "8 likes" likes --root "$parted/davis_train"
    measure "8 twins" twins --clips 24
    "$python" -m vidseg eval davis2017 --root "$data/davis_like" --sequences dogs-jump --out "$folder/eval" \
        "${given[@]}" > "$folder/8 dogs-jump" 2>&1 || echo failed >> "$folder/8 dogs-jump"
} &
wait
for path in "$folder"/[0-9]*; do
    echo "== $(basename "$path" | cut -d' ' -f2-)"
    tail -n 12 "$path"
done
