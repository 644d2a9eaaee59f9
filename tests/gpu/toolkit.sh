# CUDA 13's compiler and link libraries from NVIDIA's Python packages: no GPU, no driver, no root.
#
#     source tests/gpu/toolkit.sh && cargo build --release --features cuda
#
# Into PREP_CUDA_PREFIX (by default ~/.cache/prep/cuda-13.0); about 1 GB, once. Who has CUDA 13 installed sets CUDA_HOME
# instead. With PREP_NCCL=1 NCCL too, for the feature `nccl`. PREP_PYTHON3 names the Python (3.9 or later, with venv).
_prefix="${PREP_CUDA_PREFIX:-${XDG_CACHE_HOME:-$HOME/.cache}/prep/cuda-13.0}"
_install() {
  set -e
  local python="$_prefix/bin/python"
  [ -x "$python" ] || "${PREP_PYTHON3:-python3}" -m venv "$_prefix"
  local site
  site="$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
  local home="$site/nvidia/cu13"
  if [ ! -e "$home/.complete" ]; then
    "$_prefix/bin/pip" install -q --no-deps \
      nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 \
      nvidia-cuda-nvrtc==13.0.88 nvidia-cuda-cccl==13.0.85 nvidia-curand==10.4.0.35 nvidia-cublas==13.1.2.11 >&2
    # The linker wants names without versions, and cudarc looks into lib64.
    [ -e "$home/lib64" ] || ln -s lib "$home/lib64"
    local library file
    for library in cublas cublasLt cudart curand nvrtc; do
      file="$(find "$home/lib" -name "lib$library.so.[0-9]*" | sort | head -1)"
      ln -sf "$(basename "$file")" "$home/lib/lib$library.so"
    done
    # libcuda is the driver's. To link against: every function that the headers name, in a library that is never loaded.
    mkdir -p "$home/lib/stubs"
    { grep -hoE '\bcu[A-Z][A-Za-z0-9_]*[ ]*\(' "$home/include/cuda.h" "$home/include/cudaProfilerTypedefs.h" | tr -d ' ('
      grep -hoE '#define +cu[A-Z][A-Za-z0-9]* +(__CUDA_API_PTDS|__CUDA_API_PTSZ)?\(?cu[A-Za-z0-9_]+' "$home/include/cuda.h" |
        grep -oE 'cu[A-Z][A-Za-z0-9_]*'
      grep -hoE '\bcu[A-Z][A-Za-z0-9]*_(v[0-9]+|ptsz|ptds)\b' "$home/include/cuda.h"
      echo cuProfilerStart
      echo cuProfilerStop; } | sort -u | awk '{print "int " $1 "(void){return 999;}"}' > "$home/lib/stubs/libcuda.c"
    cc -shared -fPIC -w -fno-builtin -Wl,-soname,libcuda.so.1 -o "$home/lib/stubs/libcuda.so" "$home/lib/stubs/libcuda.c"
    "$home/bin/nvcc" --version >/dev/null
    touch "$home/.complete"
  fi
  if [ -n "${PREP_NCCL:-}" ] && [ ! -e "$site/nvidia/nccl/lib/libnccl.so" ]; then
    "$_prefix/bin/pip" install -q --no-deps nvidia-nccl-cu13==2.28.9 >&2
    ln -sf libnccl.so.2 "$site/nvidia/nccl/lib/libnccl.so"
  fi
  printf '%s' "$home"
}
# Not in a condition, where `set -e` would have no effect.
CUDA_HOME="$(_install)"
if [ $? = 0 ] && [ -n "$CUDA_HOME" ]; then
  export CUDA_HOME CUDA_PATH="$CUDA_HOME" NVCC="$CUDA_HOME/bin/nvcc" PATH="$CUDA_HOME/bin:$PATH"
  # What candle's own kernels are compiled for; ours are compiled for 8.0 and 9.0 in any case. From 90 it makes PTX for
  # sm_90a, which no other GPU takes; that for 80 runs on all later ones.
  export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}" CUDARC_CUDA_VERSION=13000
  export LIBRARY_PATH="$CUDA_HOME/lib:$CUDA_HOME/lib/stubs:${CUDA_HOME%/cu13}/nccl/lib${LIBRARY_PATH:+:$LIBRARY_PATH}"
else
  unset CUDA_HOME
  echo "the CUDA toolkit could not be installed" >&2
fi
unset -f _install
unset _prefix
command -v nvcc >/dev/null
