#!/usr/bin/env bash
# Everything about the CUDA kernels that needs a GPU, in one command: build, tests, sanitizers, speed.
#
#   scripts/check_gpu.sh             all of it, under ten minutes
#   scripts/check_gpu.sh --fast      under four: a part of the tests under the sanitizers, no slow rivals
#
# Needs a GPU, nvcc, a C++ compiler, and a Python with torch, numpy, pybind11, cmake, ninja, pytest
# and hypothesis; no network. PQRNN_CHECK_PYTHON names the Python (default: python3), PQRNN_CHECK_OUT
# a folder for logs and results (default: build/gpu). A phase that fails does not stop the others; the
# exit status says whether one did.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
fast=
[ "${1:-}" = --fast ] && fast=1
python=$(command -v "${PQRNN_CHECK_PYTHON:-python3}") || { echo "no such Python"; exit 2; }
out=${PQRNN_CHECK_OUT:-$PWD/build/gpu}
build=$PWD/build/gpu-module
mkdir -p "$out" "$build"
PATH=$(dirname "$python"):/usr/local/cuda/bin:$PATH
export PATH
unset PQRNN_ISA
start=$SECONDS
summary=()

# phase NAME LIMIT LINES COMMAND...: runs it with a time limit, keeps a log, shows the last lines.
phase() {
  local name=$1 limit=$2 lines=$3 begin=$SECONDS code
  shift 3
  echo "=== $name"
  timeout --kill-after=10 "$limit" "$@" >"$out/$name.log" 2>&1
  code=$?
  tail -n "$lines" "$out/$name.log" | cut -c1-300
  summary+=("$name: $([ $code -eq 0 ] && echo passed || echo "FAILED ($code)"), $((SECONDS - begin)) s")
  failed=$((failed + (code != 0)))
  return $code
}
failed=0

# limit FAST ALL: seconds
limit() { [ -n "$fast" ] && echo "$1" || echo "$2"; }

nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv,noheader
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
pybind=$("$python" -m pybind11 --cmakedir)

configure_and_build() {
  cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DPQRNN_CUDA=ON \
    -DPQRNN_CUDA_ARCHITECTURES="$capability-real" -DPQRNN_ISAS=avx2 \
    -DPython_EXECUTABLE="$python" -Dpybind11_DIR="$pybind" &&
    cmake --build "$build" --target _core _cuda -j "$(nproc)" &&
    rm -rf "$build/package" && mkdir "$build/package" &&
    cp -r python/pqrnn_native "$build/package/" &&
    cp "$build"/_core.*.so "$build"/_cuda.*.so "$build/package/pqrnn_native/"
}
export -f configure_and_build
export build capability pybind python
phase build "$(limit 110 240)" 12 bash -c configure_and_build ||
  grep -iE -A5 "error" "$out/build.log" | head -n 60
export PYTHONPATH=$build/package

phase status 60 5 "$python" -c '
import pqrnn_native as pq, torch
print(pq.cuda.status(), "- torch", torch.__version__, torch.version.cuda)
raise SystemExit(not pq.cuda.status())'

# Not the project's configuration, which wants plugins that a GPU machine may lack.
pytest=("$python" -m pytest -c /dev/null --rootdir . -p no:cacheprovider -p no:warnings
  --import-mode=importlib --tb=short -q)
phase tests "$(limit 120 200)" 40 "${pytest[@]}" --maxfail=25 --durations=5 tests/test_cuda.py tests/test_cuda_status.py
grep -E "^(FAILED|ERROR|E  )" "$out/tests.log" | sort | uniq -c | sort -rn | head -n 30 | cut -c1-240

phase bench "$(limit 75 250)" 60 "$python" benchmarks/bench_cuda.py \
  --out "$out" --seconds "$(limit 40 170)"

chosen="every_kernel_once"
[ -n "$fast" ] || chosen="every_kernel_once or test_gradcheck or test_projection_is_bit_exact"
for tool in memcheck racecheck; do
  phase "$tool" "$(limit 40 120)" 8 compute-sanitizer --tool "$tool" \
    --error-exitcode 9 --launch-timeout 0 "${pytest[@]}" tests/test_cuda.py -k "$chosen"
  grep -E "Invalid|Race|hazard|at .*pqrnn" "$out/$tool.log" | head -n 12 | cut -c1-240
done

echo "=== summary, $((SECONDS - start)) s"
printf '%s\n' "${summary[@]}"
[ -f "$out/cuda.md" ] && cat "$out/cuda.md"
exit $((failed > 0))
