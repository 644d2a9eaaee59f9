#!/usr/bin/env bash
# Assembles every kernel's PTX to machine code, as a driver would at its first use, and fails where that fails or where a
# kernel keeps registers in memory, but for one that is known to. Needs the toolkit and a build with `cuda`; no GPU.
#
#     tests/gpu/assemble.sh TARGET_FOLDER
set -euo pipefail
most_spilled=16 # bytes stored
known="attention_gradient_long_64_64_bf16" # 160, for three blocks on a multiprocessor: the header of attention.cu
newest="$(find "${1:?usage: tests/gpu/assemble.sh TARGET_FOLDER}" -path '*/build/prep-*/out/ptx.rs' -printf '%T@ %h\n' | sort -n | tail -1)"
folder="${newest#* }"
[ -n "$folder" ] || { echo "no build with the feature \`cuda\` in $1" >&2; exit 1; }
n_kernels=0
for ptx in "$folder"/*.ptx; do
  architecture="$(sed -n 's/^\.target \([a-z0-9_]*\).*/\1/p' "$ptx" | head -1)"
  said="$(ptxas "-arch=$architecture" -v "$ptx" -o /dev/null 2>&1)" || { printf '%s: %s\n' "$ptx" "$said" >&2; exit 1; }
  n_kernels=$((n_kernels + $(grep -c 'Compiling entry function' <<<"$said")))
  awk -v most="$most_spilled" -v known="$known" -v architecture="$architecture" '
    /Function properties for/ { name = $NF; here = name == known ? 160 : most }
    /bytes spill stores/ {
      for (i = 2; i <= NF; i++) if ($i == "spill" && $(i + 1) ~ /^stores/ && here < $(i - 2)) {
        print name " for " architecture " keeps " $(i - 2) " bytes of its registers in memory" > "/dev/stderr"
        failed = 1
      }
    }
    END { exit failed }' <<<"$said"
done
[ "$n_kernels" -gt 0 ] || { echo "no kernels in $folder" >&2; exit 1; }
echo "$n_kernels kernels, both architectures counted, assembled from $folder"
