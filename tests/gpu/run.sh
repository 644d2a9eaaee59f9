#!/usr/bin/env bash
# Everything that only a GPU can show. Run in the folder that pack.sh made, on a machine with an NVIDIA driver:
#
#     ./run.sh [RESULTS_FOLDER]
#
# Wants: an NVIDIA GPU of compute capability 8.0 or later with driver 580 or later (CUDA 13), glibc 2.35 or later,
# libcudart.so.13, libcublas.so.13, libcublasLt.so.13 and libcurand.so.10 (found in CUDA's own folders or beside a PyTorch for CUDA 13),
# python3. PyTorch is what we are compared with; compute-sanitizer is used where it is. Writes results.json and
# RESULTS.md into the results folder (`results` by default). What cannot be run is `not measured`, never a number.
# Exit 0 when every check that could be run has passed.
set -uo pipefail
cd "$(dirname "$0")"
results="${1:-results}"
mkdir -p "$results"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
say() { printf '== %s\n' "$*"; }

say "unpacking"
python3 - "$work" <<'PY' || exit 1
import lzma, os, shutil, sys
for name in ("prep", "kernel-tests", "kernel-bench"):
    path = os.path.join(sys.argv[1], name)
    with lzma.open(name + ".xz") as packed, open(path, "wb") as file:
        shutil.copyfileobj(packed, file)
    os.chmod(path, 0o755)
PY

# The libraries of CUDA 13: the system's, or those that came with PyTorch.
folders="$(python3 - <<'PY'
import glob, sysconfig, site, sys
roots = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
found = [f for root in sorted(roots) for f in sorted(glob.glob(root + "/nvidia/*/lib"))]
found += sorted(glob.glob("/usr/local/cuda*/lib64")) + sorted(glob.glob("/usr/local/cuda*/targets/x86_64-linux/lib"))
print(":".join(found))
PY
)"
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folders"
failed=0
"$work/prep" --version > "$results/version.txt" 2>&1 || { cat "$results/version.txt"; echo "the program does not start here: see built.txt for what it needs"; exit 1; }
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader > "$results/gpu.txt" 2>/dev/null || echo "unknown GPU" > "$results/gpu.txt"
cat "$results/gpu.txt"

# A step: its name, its longest time, then the command. Its output is kept; that it failed is kept too.
step() {
  local name="$1" limit="$2"
  shift 2
  say "$name"
  timeout "$limit" "$@" > "$results/$name.log" 2>&1
  local rc=$?
  echo "$rc" > "$results/$name.rc"
  [ "$rc" = 0 ] || { echo "$name: exit $rc"; tail -15 "$results/$name.log"; failed=1; }
}

# Every kernel against its definition on the CPU, over sizes and types, and each twice for equal bits.
export PREP_GPU=1
step kernels 900 "$work/kernel-tests" gpu --test-threads 1
sanitizer="$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -1)"
if [ -n "$sanitizer" ]; then
  step memcheck 900 "$sanitizer" --tool memcheck --error-exitcode 9 "$work/kernel-tests" a_gpu --skip replica --test-threads 1
  step racecheck 900 "$sanitizer" --tool racecheck --error-exitcode 9 "$work/kernel-tests" a_gpu --skip replica --test-threads 1
fi
unset PREP_GPU

step bench 600 "$work/kernel-bench"
if python3 -c 'import torch; assert torch.cuda.is_available()' 2>/dev/null; then
  step torch_kernels 600 python3 torch_kernels.py
fi

# Training: useful tokens a second, the share of waiting, and the same bytes from two runs and from a resumed one.
train() { "$work/prep" train dataset --init large --device cuda --quiet --json --set model.dropout=0.0 --set checkpoint.every=1000000 "$@"; }
export -f train
export work
step train 600 bash -c 'train --steps 40 --out "$work/first"'
step train_again 600 bash -c 'train --steps 40 --out "$work/second"'
step train_same 60 cmp "$work/first/model/model.safetensors" "$work/second/model/model.safetensors"
# Killed as soon as it has a checkpoint.
cut() {
  train --steps 40 --out "$work/cut" --set checkpoint.every=17 &
  local run=$!
  until [ -e "$work/cut/checkpoints/step-000000017.safetensors" ] || ! kill -0 $run 2>/dev/null; do sleep 0.05; done
  pkill -KILL -f "$work/prep train"
  wait $run
  [ -e "$work/cut/checkpoints/step-000000017.safetensors" ]
}
export -f cut
step train_cut 600 bash -c cut
step train_resumed 600 bash -c 'train --steps 40 --out "$work/cut" --set checkpoint.every=17 --resume'
step train_resumed_same 60 cmp "$work/first/model/model.safetensors" "$work/cut/model/model.safetensors"
if [ -f "$results/torch_kernels.rc" ]; then
  step torch_train 900 python3 torch_train.py --dataset dataset --tokenizer tokenizer.json --steps 40
fi

# The evaluator: the same numbers as on the CPU, from the same vectors.
step eval_cuda 600 "$work/prep" eval dataset --model "$work/first/model" --device cuda --json --quiet --embeddings-out "$work/vectors.safetensors"
step eval_cpu_ranks 600 "$work/prep" eval dataset --embeddings "$work/vectors.safetensors" --device cpu --json --quiet
step eval_cuda_ranks 600 "$work/prep" eval dataset --embeddings "$work/vectors.safetensors" --device cuda --json --quiet
step eval_same 60 python3 results.py --same "$results/eval_cpu_ranks.log" "$results/eval_cuda_ranks.log"

python3 results.py "$results"
cat "$results/RESULTS.md"
exit "$failed"
