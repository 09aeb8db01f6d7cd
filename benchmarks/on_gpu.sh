#!/usr/bin/env bash
# Proves the GPU path on a machine with an NVIDIA GPU, in eight minutes, without a network:
#
#     benchmarks/on_gpu.sh [--wheels DIR] [--out DIR] [--emulated]
#
# Each step runs under its own time limit and writes a log; a step that fails costs its own result, but for the first.
# --wheels installs the packages of a folder for this run alone. --emulated runs the same steps on the driver that the
# tests bring, for machines without a GPU: it shows that the script works, and measures nothing.
set -uo pipefail
cd "$(dirname "$0")/.."
wheels="" out="benchmarks/results/gpu" emulated=""
while [ $# -gt 0 ]; do
  case $1 in
    --wheels) wheels=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --emulated) emulated=yes; shift ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
done
mkdir -p "$out"
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
export PYTHONPATH="$site:sdk:calibration:tools:tests/support${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
table=() failures=0

# step NAME SECONDS COMMAND...: its log is NAME.log
step() {
  local name=$1 limit=$2 start=$SECONDS status
  shift 2
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.log" 2>&1
  status=$?
  [ $status -eq 0 ] || failures=$((failures + 1))
  [ $status -eq 124 ] && status="time limit"
  table+=("$(printf '%-12s %4d s  %s' "$name" $((SECONDS - start)) "${status/#0/ok}")")
  [ "$status" = 0 ]
}

script() { # a benchmark, on the GPU or on the emulated driver
  if [ -n "$emulated" ]; then python3 -m emulated "$@"; else python3 "$@"; fi
}
export -f script
export emulated

if [ -n "$wheels" ]; then
  step install 60 python3 -m pip install --no-index --no-deps --no-compile --quiet --target "$site" "$wheels"/*.whl
fi
kernels=(benchmarks/kernels.py --out "$out/kernels.json")
if [ -n "$emulated" ]; then
  marker="not gpu and not slow" smoke=(tests/cuda/test_cuda_context.py) few="test_cuda_frame.py"
  kernels+=(--rounds 1 --frame 96x128 --side 32)
else
  marker="gpu" smoke=(tests/cuda/test_cuda_fuse.py tests/cuda/test_cuda_graph.py) few=""
fi
if step smoke 60 python3 -m pytest -q -x -m "$marker" -p no:cacheprovider "${smoke[@]}"; then
  step kernels 90 bash -c 'script "$@"' - "${kernels[@]}"
  step tests 180 python3 -m pytest -q -m "$marker" -p no:cacheprovider "tests/cuda/$few" \
    --deselect tests/cuda/test_cuda_sanitizer.py
  if [ -z "$emulated" ]; then
    pids=()
    for tool in memcheck racecheck synccheck initcheck; do
      (timeout --kill-after=5 120 compute-sanitizer --tool=$tool --error-exitcode=9 --target-processes=all \
        python3 -m pytest -q -m gpu -p no:cacheprovider --hypothesis-profile=few \
        tests/cuda/test_cuda_resize.py tests/cuda/test_cuda_fuse.py tests/cuda/test_cuda_components.py \
        >"$out/$tool.log" 2>&1; echo $? >"$out/$tool.status") &
      pids+=($!)
    done
    wait "${pids[@]}"
    for tool in memcheck racecheck synccheck initcheck; do
      status=$(cat "$out/$tool.status"); rm "$out/$tool.status"
      [ "$status" = 0 ] || failures=$((failures + 1))
      table+=("$(printf '%-12s         %s' "$tool" "${status/#0/ok}")")
    done
  fi
else
  table+=("the smoke test failed: nothing else was run; see $out/smoke.log")
fi
echo
printf '%s\n' "${table[@]}" | tee "$out/summary.txt"
exit $((failures > 0))
