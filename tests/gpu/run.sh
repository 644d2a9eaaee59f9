#!/usr/bin/env bash
# Everything that only a GPU can show. Run in the folder that pack.sh made, on a machine with an NVIDIA driver:
#
#     ./run.sh [RESULTS_FOLDER]
#
# Wants: an NVIDIA GPU of compute capability 8.0 or later with driver 580 or later (CUDA 13), glibc 2.34 or later, libstdc++.so.6,
# libcudart.so.13, libcublas.so.13, libcublasLt.so.13 and libcurand.so.10 (found in CUDA's own folders or beside a
# PyTorch for CUDA 13; else `pip install nvidia-cuda-runtime nvidia-cublas nvidia-curand`, of CUDA 13), python3, and
# some GB in TMPDIR. PyTorch is what we are compared with; compute-sanitizer is used where it is. Writes results.json
# and RESULTS.md into the results folder (`results` by default), which must be new: what cannot be run is
# `not measured`, never a number of another day. Exit 0 when every check that could be run has passed.
set -uo pipefail
mkdir -p "${1:-results}" && results="$(cd "${1:-results}" && pwd)" || exit 1
cd "$(dirname "$0")"
if [ -n "$(ls -A "$results")" ]; then
  echo "$results holds files already: name a new folder" >&2
  exit 1
fi
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
say() { printf '== %s\n' "$*"; }

say "unpacking"
python3 - "$work" <<'PY' || exit 1
import os, sys, tarfile
with tarfile.open("programs.tar.xz", "r:xz") as archive:
    for name in ("prep", "kernel-tests", "kernel-bench"):
        path = os.path.join(sys.argv[1], name)
        with open(path, "wb") as file:
            file.write(archive.extractfile(name).read())
        os.chmod(path, 0o755)
PY

# The libraries of CUDA 13: the system's, or those that came with PyTorch.
folders="$(python3 - <<'PY'
import glob, site, sysconfig
roots = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages(), *site.getsitepackages()}
found = [f for root in sorted(roots) for f in sorted(glob.glob(root + "/nvidia/*/lib"))]
found += sorted(glob.glob("/usr/local/cuda*/lib64")) + sorted(glob.glob("/usr/local/cuda*/targets/x86_64-linux/lib"))
print(":".join(found))
PY
)"
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folders"
cp built.txt "$results/built.txt"
if ! "$work/prep" --version > "$results/version.txt" 2>&1; then
  cat "$results/version.txt"
  echo "the program does not start here: built.txt says what it needs"
  exit 1
fi
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader > "$results/gpu.txt" 2>/dev/null ||
  echo "a GPU without nvidia-smi" > "$results/gpu.txt"
cat "$results/gpu.txt"
failed=0

# A step: its name, its longest time, then the command. Its output is kept; that it failed is kept too.
step() {
  local name="$1" limit="$2" rc
  shift 2
  say "$name"
  timeout -k 10 "$limit" "$@" > "$results/$name.log" 2>&1
  rc=$?
  echo "$rc" > "$results/$name.rc"
  [ "$rc" = 0 ] || { echo "$name: exit $rc"; tail -15 "$results/$name.log"; failed=1; }
}

# Every kernel against its definition on the CPU, over sizes and types, and each twice for equal bits. A filter that
# names no test is no success.
export PREP_GPU=1
tests() {
  local name="$1" limit="$2"
  step "$name" "$limit" "${@:3}"
  grep -qE "ok\. [1-9][0-9]* passed" "$results/$name.log" && return
  [ "$(cat "$results/$name.rc")" != 0 ] || { echo "$name: no test ran"; echo 1 > "$results/$name.rc"; failed=1; }
}
tests kernels 900 "$work/kernel-tests" gpu --test-threads 1
sanitizer="$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)"
if [ -n "$sanitizer" ]; then
  for tool in memcheck racecheck; do
    tests "$tool" 1800 "$sanitizer" --tool "$tool" --error-exitcode 9 "$work/kernel-tests" kernels:: --test-threads 1
  done
fi
unset PREP_GPU

step bench 600 "$work/kernel-bench"
has_torch=no
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  has_torch=yes
  step torch_kernels 900 python3 torch_kernels.py
fi

# Training: useful tokens a second, the share of waiting, and the same bytes from two runs and from one that is killed
# when it has a checkpoint, and resumed.
train=("$work/prep" train dataset --init large --device cuda --quiet --json --steps 40 --set model.dropout=0.0
  --set checkpoint.every=17 --set checkpoint.keep=1)
nvidia-smi --query-gpu=utilization.gpu --format=csv,noheader,nounits -lms 100 > "$results/busy.txt" 2>/dev/null &
watch=$!
step train 900 "${train[@]}" --out "$work/first"
kill "$watch" 2>/dev/null
cp "$work/first/metrics.jsonl" "$results/metrics.jsonl" 2>/dev/null
step train_again 900 "${train[@]}" --out "$work/second"
step train_same 60 cmp "$work/first/model/model.safetensors" "$work/second/model/model.safetensors"
rm -rf "$work/second"
say "train_killed"
"${train[@]}" --out "$work/killed" > "$results/train_killed.log" 2>&1 &
run=$!
waited=0
until [ -e "$work/killed/checkpoints/step-000000017.safetensors" ] || ! kill -0 "$run" 2>/dev/null || [ "$waited" = 45000 ]; do
  sleep 0.02
  waited=$((waited + 1))
done
kill -KILL "$run" 2>/dev/null
wait "$run"
if [ $? = 137 ] && [ ! -e "$work/killed/model" ]; then
  step train_resumed 900 "${train[@]}" --out "$work/killed" --resume
  step train_resumed_same 60 cmp "$work/first/model/model.safetensors" "$work/killed/model/model.safetensors"
else
  echo "train_killed: the run ended before it was killed"
  failed=1
fi
if [ "$has_torch" = yes ] && [ -e batches.json ]; then
  step torch_train 900 python3 torch_train.py --batches batches.json --steps 40
fi

# The evaluator: the same numbers as on the CPU, from the same vectors.
eval=("$work/prep" eval dataset --json --quiet)
step eval_cuda 600 "${eval[@]}" --model "$work/first/model" --device cuda --embeddings-out "$work/vectors.safetensors"
step eval_cpu_ranks 600 "${eval[@]}" --embeddings "$work/vectors.safetensors" --device cpu
step eval_cuda_ranks 600 "${eval[@]}" --embeddings "$work/vectors.safetensors" --device cuda
step eval_same 60 python3 results.py --same "$results/eval_cpu_ranks.log" "$results/eval_cuda_ranks.log"

python3 results.py "$results" || failed=1
cat "$results/RESULTS.md"
exit "$failed"
