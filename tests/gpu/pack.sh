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

features=(--locked --no-default-features --features cuda)
cargo build --release "${features[@]}" --bin prep
built() { # the executable of a test or bench target
  cargo "$@" "${features[@]}" --no-run --message-format=json | python3 -c '
import json, sys
found = [m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable")]
print(found[-1])'
}
tests="$(built test --release --lib)"
# In the release profile by itself.
bench="$(built bench --bench gpu)"
cp "$target/release/prep" "$out/prep"
cp "$tests" "$out/kernel-tests"
cp "$bench" "$out/kernel-bench"
strip "$out/prep" "$out/kernel-tests" "$out/kernel-bench"
{ echo "commit $(git rev-parse HEAD 2>/dev/null || echo unknown)"
  echo "glibc of the build $(ldd --version | sed -n '1s/.* //p')"
  objdump -p "$out/prep" | awk '/NEEDED/ {print "needs " $2} /GLIBC_/ {print $4}' | sort -Vu | tail -12; } > "$out/built.txt"
# They travel in one compressed archive: most of each are candle's own kernels, the same in all three, which a dictionary
# as long as a program finds again.
python3 - "$out" <<'PY'
import lzma, os, sys, tarfile
out = sys.argv[1]
filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 256 << 20}]
with lzma.open(os.path.join(out, "programs.tar.xz"), "wb", filters=filters) as packed:
    with tarfile.open(fileobj=packed, mode="w|") as archive:
        for name in ("prep", "kernel-tests", "kernel-bench"):
            archive.add(os.path.join(out, name), arcname=name)
            os.remove(os.path.join(out, name))
PY

# A dataset is built by the whole program, which needs no GPU.
builder="${PREP:-$target/debug/prep}"
[ -x "$builder" ] || cargo build --locked --bin prep
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
if [ -d "$data/xquad-r" ]; then
  source=(pipelines/xquad-r.toml --data "$data" --set batches.batch_size=512 --set batches.steps=60)
  vocab=32000
else
  source=(--set batches.batch_size=32 --set batches.steps=60)
  vocab=2000
fi
"$builder" build-shards "${source[@]}" --out "$work/plain" --quiet
"$builder" tokenizer train "$work/plain" --vocab "$vocab" --out "$out/tokenizer.json" --quiet
# As many words as XLM-R base has, of which these texts use a part: the table's size is what costs.
python3 - "$out/tokenizer.json" 250002 <<'PY'
import json, sys
path, size = sys.argv[1], int(sys.argv[2])
tokenizer = json.load(open(path))
vocab = tokenizer["model"]["vocab"]
lowest = min(score for _, score in vocab) - 10
vocab += [[f"<never-{n}>", lowest] for n in range(len(vocab), size)]
json.dump(tokenizer, open(path, "w"), ensure_ascii=False)
PY
rm -rf "$out/dataset"
"$builder" build-shards "${source[@]}" --tokenizer "$out/tokenizer.json" --out "$out/dataset" --quiet
# The same tokens for PyTorch, whose machine may have no reader of Parquet.
"${PREP_PYTHON:-python3}" - "$out" <<'PY' || echo "without pyarrow here, the training race will not be measured there"
import glob, json, sys
import pyarrow.parquet as pq
out = sys.argv[1]
tokenizer = json.load(open(out + "/tokenizer.json"))
columns = ["step", "query_input_ids", "positive_input_ids"]
batches = {}
for path in sorted(glob.glob(out + "/dataset/train/batches-*.parquet")):
    for row in pq.read_table(path, columns=columns).to_pylist():
        for side, name in zip(batches.setdefault(row["step"], [[], []]), columns[1:]):
            side.append(row[name])
vocab = max(max(ids) for sides in batches.values() for side in sides for ids in side) + 1
vocab = max(vocab, len(tokenizer["model"]["vocab"]))
json.dump({"vocab": vocab, "batches": [batches[step] for step in sorted(batches)]}, open(out + "/batches.json", "w"))
PY
cp tests/gpu/run.sh tests/gpu/jobs.json tests/gpu/results.py tests/gpu/torch_kernels.py tests/gpu/torch_train.py "$out/"
n_bytes="$(du -sb "$out" | cut -f1)"
echo "$out: $((n_bytes / 1048576)) MiB"
[ "$n_bytes" -lt $((60 * 1048576)) ] || { echo "more than 60 MiB" >&2; exit 1; }
