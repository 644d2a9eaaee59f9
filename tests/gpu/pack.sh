#!/usr/bin/env bash
# Packs what a GPU machine needs into one folder: binaries, a dataset, the scripts.
#
#     tests/gpu/pack.sh OUT [--data XQUAD_R]
#
# Builds with the feature `cuda` and without `pipeline` (tests/gpu/toolkit.sh comes first). The dataset is XQuAD-R's, in
# batches of 512, where its folder is given or lies at ../shared/data/xquad-r; else that of data/.
set -euo pipefail
cd "$(dirname "$0")/../.."
out="${1:?usage: tests/gpu/pack.sh OUT [--data XQUAD_R]}"
data="../shared/data"
[ "${2:-}" != "--data" ] || data="${3:?--data names a folder}"
target="${CARGO_TARGET_DIR:-target}"
mkdir -p "$out"

features=(--locked --release --no-default-features --features cuda)
cargo build "${features[@]}" --bin prep
built() { # the executable of a test or bench target
  cargo "$@" "${features[@]}" --no-run --message-format=json | python3 -c '
import json, sys
found = [m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable")]
print(found[-1])'
}
tests="$(built test --lib)"
bench="$(built bench --bench gpu)"
cp "$target/release/prep" "$out/prep"
cp "$tests" "$out/kernel-tests"
cp "$bench" "$out/kernel-bench"
strip "$out/prep" "$out/kernel-tests" "$out/kernel-bench"
{ echo "commit $(git rev-parse HEAD 2>/dev/null || echo unknown)"
  echo "glibc of the build $(ldd --version | sed -n '1s/.* //p')"
  objdump -p "$out/prep" | awk '/NEEDED/ {print "needs " $2} /GLIBC_/ {print $4}' | sort -Vu | tail -12; } > "$out/built.txt"
# They travel compressed: each is some 60 MB, of which most are candle's quantised kernels, which nothing here uses.
python3 - "$out" <<'PY'
import lzma, os, sys
for name in ("prep", "kernel-tests", "kernel-bench"):
    path = os.path.join(sys.argv[1], name)
    with open(path, "rb") as file, lzma.open(path + ".xz", "wb", preset=6) as packed:
        packed.write(file.read())
    os.remove(path)
PY

# A dataset is built by the whole program, which needs no GPU.
if [ ! -d "$out/dataset" ]; then
  builder="${PREP:-$target/debug/prep}"
  [ -x "$builder" ] || cargo build --locked --bin prep
  work="$(mktemp -d)"
  trap 'rm -rf "$work"' EXIT
  if [ -d "$data/xquad-r" ]; then
    source=(pipelines/xquad-r.toml --data "$data" --set batches.batch_size=512 --set batches.steps=60)
  else
    source=(--set batches.batch_size=32 --set batches.steps=60)
  fi
  "$builder" build-shards "${source[@]}" --out "$work/plain" --quiet
  "$builder" tokenizer train "$work/plain" --vocab 32000 --out "$out/tokenizer.json" --quiet ||
    "$builder" tokenizer train "$work/plain" --out "$out/tokenizer.json" --quiet
  "$builder" build-shards "${source[@]}" --tokenizer "$out/tokenizer.json" --out "$out/dataset" --quiet
fi
cp tests/gpu/run.sh tests/gpu/results.py tests/gpu/torch_kernels.py tests/gpu/torch_train.py "$out/"
du -sh "$out"
