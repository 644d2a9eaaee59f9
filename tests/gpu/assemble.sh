#!/usr/bin/env bash
# Assembles every kernel's PTX to machine code, as a driver would at its first use, and fails where that fails or where a
# kernel keeps more of its registers in memory than is known of one. Needs the toolkit and a build with `cuda`; no GPU.
#
#     tests/gpu/assemble.sh TARGET_FOLDER
set -euo pipefail
most_spilled=160 # bytes stored: attention's long gradient, whose header says why
newest="$(find "${1:?usage: tests/gpu/assemble.sh TARGET_FOLDER}" -path '*/build/prep-*/out/ptx.rs' -printf '%T@ %h\n' | sort -n | tail -1)"
folder="${newest#* }"
[ -n "$folder" ] || { echo "no build with the feature \`cuda\` in $1" >&2; exit 1; }
n_kernels=0
for ptx in "$folder"/*.ptx; do
  architecture="$(sed -n 's/^\.target \([a-z0-9_]*\).*/\1/p' "$ptx" | head -1)"
  said="$(ptxas "-arch=$architecture" -v "$ptx" -o /dev/null 2>&1)" || { printf '%s: %s\n' "$ptx" "$said" >&2; exit 1; }
  n_kernels=$((n_kernels + $(grep -c 'Compiling entry function' <<<"$said")))
  awk -v most="$most_spilled" -v architecture="$architecture" '
    /Function properties for/ { name = $NF }
    /bytes spill stores/ {
      for (i = 2; i <= NF; i++) if ($i == "spill" && $(i + 1) ~ /^stores/ && most < $(i - 2)) {
        print name " for " architecture " keeps " $(i - 2) " bytes of its registers in memory" > "/dev/stderr"
        failed = 1
      }
    }
    END { exit failed }' <<<"$said"
done
[ "$n_kernels" -gt 0 ] || { echo "no kernels in $folder" >&2; exit 1; }
echo "$n_kernels kernels, both architectures counted, assembled from $folder"
