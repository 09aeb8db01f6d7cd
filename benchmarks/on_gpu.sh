#!/usr/bin/env bash
# Proves the GPU path on a machine with an NVIDIA GPU, in eight minutes, without a network:
#
#     benchmarks/on_gpu.sh [--wheels DIR] [--bundle FILE] [--out DIR] [--emulated]
#
# Each step runs under its own time limit and writes a log; a step that fails costs its own result, but for the first
# ones. --wheels installs packages of a folder for this run alone, those that the machine lacks: pycuda, and what
# benchmarks/on_gpu.txt has (`pip download --no-deps --only-binary=:all: --python-version 3.12 --platform
# manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -r benchmarks/on_gpu.txt -d DIR`). --bundle is what the engine
# is measured with, best an edge stlm of 256 pixels; else a small one of the tests. --emulated runs the same steps on
# the driver that the tests bring, for machines without a GPU: it shows that the script works, and measures nothing.
set -uo pipefail
root=$(realpath "$(dirname "$0")/..")
wheels="" bundle="" out="$root/benchmarks/results/gpu" emulated=""
while [ $# -gt 0 ]; do
  case $1 in
    --wheels) wheels=$(realpath -m "$2"); shift 2 ;;
    --bundle) bundle=$(realpath -m "$2"); shift 2 ;;
    --out) out=$(realpath -m "$2"); shift 2 ;;
    --emulated) emulated=yes; shift ;;
    *) sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done
mkdir -p "$out"
cd "$root"
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
export PYTHONPATH="$site:sdk:calibration:tools:tests/support${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export EDGEAD_CACHE="$site/cache" EMULATOR_FOLDER="$site/emulator" # nothing is left, and built once
mkdir "$EMULATOR_FOLDER"
summary="$out/summary.txt" failures=0
: >"$summary"

# note NAME SECONDS STATUS: a line of the summary, as soon as it is known
note() {
  [ "$3" = 0 ] || failures=$((failures + 1))
  local status=${3/#0/ok}
  [ "$3" = 124 ] && status="time limit"
  printf '%-12s %4s s  %s\n' "$1" "$2" "$status" >>"$summary"
}

# step NAME SECONDS COMMAND...: its log is NAME.log
step() {
  local name=$1 limit=$2 start=$SECONDS status
  shift 2
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1
  status=$?
  note "$name" $((SECONDS - start)) $status
  [ $status = 0 ]
}

finish() { # with the table of what was measured, where something was
  echo
  if python3 benchmarks/gpu_table.py "$out" >"$out/table.txt" 2>"$out/table.log"; then cat "$out/table.txt"; fi
  cat "$summary"
  exit $((failures > 0))
}

python=(python3) # of a benchmark: on the GPU, or on the emulated driver
tests=(python3 -m pytest -q -p no:cacheprovider -o addopts= -o filterwarnings= --continue-on-collection-errors)
kernels=(benchmarks/kernels.py --out "$out/kernels.json")
engine=(benchmarks/torch_engine.py ${bundle:+"$bundle"} --out "$out/engine.json")
baselines=(benchmarks/torch_engine.py ${bundle:+"$bundle"} --baselines --batches 1,8,32 --out "$out/baselines.json")
if [ -n "$emulated" ]; then
  python=(python3 -m emulated)
  tests+=(-m "not gpu and not slow") few=(tests/cuda/test_cuda_frame.py) smoke=(tests/cuda/test_cuda_graph.py)
  kernels+=(--rounds 1 --frame 96x128 --side 32)
  engine+=(--rounds 2 --frame 64x48 --frames 6 --batches 1,4)
else
  tests+=(-m gpu) few=(tests/cuda --deselect tests/cuda/test_cuda_sanitizer.py)
  smoke=(-x tests/cuda/test_cuda_fuse.py tests/cuda/test_cuda_graph.py)
fi

if [ -n "$wheels" ]; then
  step install 40 python3 benchmarks/gpu_needs.py --wheels "$wheels" --into "$site" || { cat "$out/install.log"; finish; }
fi
step needs 20 python3 benchmarks/gpu_needs.py ${emulated:+--emulated} || { cat "$out/needs.log"; finish; }
step smoke 40 "${tests[@]}" "${smoke[@]}" || { tail -n 20 "$out/smoke.log"; finish; }
step kernels 60 "${python[@]}" "${kernels[@]}"
step engine 100 "${python[@]}" "${engine[@]}"
step tests 100 "${tests[@]}" "${few[@]}"
if [ -z "$emulated" ]; then
  step baselines 50 "${python[@]}" "${baselines[@]}"
  pids=() start=$SECONDS sanitizers=(memcheck racecheck synccheck initcheck)
  for tool in "${sanitizers[@]}"; do
    (timeout --kill-after=5 60 compute-sanitizer --tool=$tool --error-exitcode=9 --target-processes=all \
      "${tests[@]}" --hypothesis-profile=few \
      tests/cuda/test_cuda_resize.py tests/cuda/test_cuda_fuse.py tests/cuda/test_cuda_components.py \
      >"$out/$tool.log" 2>&1; echo $? >"$out/$tool.status") &
    pids+=($!)
  done
  wait "${pids[@]}"
  for tool in "${sanitizers[@]}"; do
    note $tool $((SECONDS - start)) "$(cat "$out/$tool.status")"
    rm "$out/$tool.status"
  done
fi
finish
