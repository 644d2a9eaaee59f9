// CUDA's model of execution on one thread of a CPU, as far as `src/kernels/*.cu` use it.
//
// The threads of a block are fibers. One runs until it ends or waits: at the barrier of its block, or for the other 31
// lanes of its warp. Blocks run one after another. What it finds beside wrong results: lanes that wait for each other
// at different operations, a barrier that some threads never reach, a read of an asynchronous copy that nobody waited
// for (the copy happens in the wait), shared memory that was not written (it begins as NaN in every block), and, as a kernel can be run
// with its fibers in ascending or descending order, results that depend on who comes first.
#pragma once

#include <csetjmp>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __align__(n) alignas(n)
#define __launch_bounds__(...)

namespace emulator {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "emulator: %s\n", what);
  std::abort();
}

enum class State { Ready, AtBarrier, InWarp, Ended };

// What a lane brings to an operation of its warp, and where it stands in its own program.
struct Posted {
  const char* operation = nullptr;
  unsigned char bytes[64];
};

struct Fiber {
  ucontext_t context;
  jmp_buf at;
  bool begun = false;
  State state = State::Ready;
  Index thread;
  unsigned number = 0;
  unsigned long n_operations = 0;
  Posted posted[2];
  struct Copy {
    void* to;
    const void* from;
    bool there;
  };
  std::vector<std::vector<Copy>> commits{1};
  std::unique_ptr<unsigned char[]> stack;
};

constexpr size_t STACK_BYTES = 256 << 10;
constexpr size_t SHARED_BYTES = 232448;  // what a block of Hopper can have

struct Block {
  std::vector<std::unique_ptr<Fiber>> fibers;
  Index block, n_threads, n_blocks;
  std::function<void()> body;
  jmp_buf scheduler;
  uint64_t serial;  // of all blocks of this thread, from 1
  alignas(128) unsigned char shared[SHARED_BYTES];
};

inline thread_local Block* block = nullptr;
inline thread_local Fiber* now = nullptr;
inline thread_local bool descending = false;
inline thread_local uint64_t n_blocks_run = 0;

inline void wait(State state) {
  now->state = state;
  if (_setjmp(now->at) == 0) _longjmp(block->scheduler, 1);
}

inline void run_fiber() {
  block->body();
  now->state = State::Ended;
  _longjmp(block->scheduler, 1);
}

inline void resume(Fiber& fiber) {
  now = &fiber;
  fiber.state = State::Ready;
  if (_setjmp(block->scheduler) == 0) {
    if (fiber.begun) _longjmp(fiber.at, 1);
    fiber.begun = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK_BYTES;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, run_fiber, 0);
    setcontext(&fiber.context);
  }
}

// All lanes of a warp that are not at their end are at one operation.
inline bool warp_is_ready(size_t first, size_t end) {
  auto& fibers = block->fibers;
  const char* operation = nullptr;
  for (size_t i = first; i < end; i++) {
    if (fibers[i]->state != State::InWarp) {
      if (fibers[i]->state == State::Ended || fibers[i]->state == State::AtBarrier)
        fail("a lane waits for its warp, of which another has ended or stands at a barrier");
      return false;
    }
    const char* its = fibers[i]->posted[(fibers[i]->n_operations - 1) % 2].operation;
    if (operation && std::strcmp(operation, its) != 0) fail("lanes of a warp are at different operations");
    operation = its;
  }
  return true;
}

inline void run_block() {
  auto& fibers = block->fibers;
  const size_t n = fibers.size();
  std::memset(block->shared, 0xff, SHARED_BYTES);
  for (;;) {
    bool ran = false;
    for (size_t k = 0; k < n; k++) {
      Fiber& fiber = *fibers[descending ? n - 1 - k : k];
      if (fiber.state == State::Ready) {
        resume(fiber);
        ran = true;
      }
    }
    for (size_t first = 0; first < n; first += 32) {
      const size_t end = first + 32;
      bool any = false;
      for (size_t i = first; i < end; i++) any |= fibers[i]->state == State::InWarp;
      if (any && warp_is_ready(first, end)) {
        for (size_t i = first; i < end; i++) fibers[i]->state = State::Ready;
        ran = true;
      }
    }
    if (ran) continue;
    size_t n_ended = 0;
    for (auto& fiber : fibers) n_ended += fiber->state == State::Ended;
    if (n_ended == n) return;
    if (n_ended != 0) fail("some threads of a block wait at a barrier, and others have ended");
    for (auto& fiber : fibers) fiber->state = State::Ready;
  }
}

template <typename F>
void launch(const unsigned* grid, unsigned n_threads, unsigned shared_bytes, bool in_descending_order, F body) {
  if (n_threads % 32 != 0 || n_threads == 0 || 1024 < n_threads) fail("a block is 1 to 32 whole warps");
  if (SHARED_BYTES < shared_bytes) fail("a block has less shared memory");
  static thread_local std::vector<std::unique_ptr<unsigned char[]>> stacks;
  auto state = std::make_unique<Block>();
  block = state.get();
  descending = in_descending_order;
  block->body = body;
  block->n_blocks = {grid[0], grid[1], grid[2]};
  block->n_threads = {n_threads, 1, 1};
  while (stacks.size() < n_threads) stacks.emplace_back(new unsigned char[STACK_BYTES]);
  for (unsigned z = 0; z < grid[2]; z++)
    for (unsigned y = 0; y < grid[1]; y++)
      for (unsigned x = 0; x < grid[0]; x++) {
        block->block = {x, y, z};
        block->serial = ++n_blocks_run;
        block->fibers.clear();
        for (unsigned i = 0; i < n_threads; i++) {
          auto fiber = std::make_unique<Fiber>();
          fiber->number = i;
          fiber->thread = {i, 0, 0};
          fiber->stack = std::move(stacks[i]);
          block->fibers.push_back(std::move(fiber));
        }
        run_block();
        for (unsigned i = 0; i < n_threads; i++) stacks[i] = std::move(block->fibers[i]->stack);
      }
  block = nullptr;
}

inline unsigned char* shared_memory() { return block->shared; }

// An array of a block, NaN in every block anew.
template <typename T>
struct SharedArray {
  T values;
  uint64_t of_block = 0;
  T& get() {
    if (of_block != block->serial) std::memset(&values, 0xff, sizeof(T));
    of_block = block->serial;
    return values;
  }
};

// An operation of all 32 lanes: each posts a value, waits for the others, and looks at what they posted.
template <typename T>
struct Lanes {
  unsigned first, parity;
  Lanes(const char* operation, const T& mine) {
    static_assert(sizeof(T) <= sizeof(Posted::bytes));
    parity = now->n_operations % 2;
    now->n_operations++;
    now->posted[parity].operation = operation;
    std::memcpy(now->posted[parity].bytes, &mine, sizeof(T));
    first = now->number / 32 * 32;
    wait(State::InWarp);
  }
  T of(unsigned lane) const {
    T value;
    std::memcpy(&value, block->fibers[first + lane % 32]->posted[parity].bytes, sizeof(T));
    return value;
  }
};

inline void finish_commits(size_t left) {
  auto& commits = now->commits;
  // The last one is still open.
  const size_t n = commits.size() - 1;
  const size_t n_done = n <= left ? 0 : n - left;
  for (size_t i = 0; i < n_done; i++)
    for (auto& copy : commits[i]) {
      if (copy.there)
        std::memcpy(copy.to, copy.from, 16);
      else
        std::memset(copy.to, 0, 16);
    }
  commits.erase(commits.begin(), commits.begin() + static_cast<long>(n_done));
}

}  // namespace emulator

#define threadIdx (emulator::now->thread)
#define blockIdx (emulator::block->block)
#define blockDim (emulator::block->n_threads)
#define gridDim (emulator::block->n_blocks)

#define KERNEL(name, Args, max_threads)                                                                       \
  static void name(const Args& a);                                                                            \
  extern "C" void name##_emulated(const void* args, const unsigned* grid, unsigned n_threads, unsigned shared, \
                                  bool descending) {                                                          \
    if ((max_threads) < n_threads) emulator::fail("more threads than the kernel is bound to");               \
    Args copy;                                                                                                \
    std::memcpy(&copy, args, sizeof(Args));                                                                   \
    emulator::launch(grid, n_threads, shared, descending, [&copy] { name(copy); });                           \
  }                                                                                                           \
  extern "C" unsigned name##_args_bytes() { return sizeof(Args); }                                            \
  static void name(const Args& a)

#define KERNEL_OF_BLOCKS(name, Args, max_threads, min_blocks) KERNEL(name, Args, max_threads)

#define SHARED(T, name, dims)                                          \
  using name##_array = T dims;                                         \
  static thread_local emulator::SharedArray<name##_array> name##_held; \
  name##_array& name = name##_held.get()
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(emulator::shared_memory())

inline void __syncthreads() { emulator::wait(emulator::State::AtBarrier); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulator::Lanes<int>("syncwarp", 0); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulator::Lanes<T>("shfl_xor", value).of(emulator::now->number % 32 ^ static_cast<unsigned>(mask));
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return emulator::Lanes<T>("shfl", value).of(static_cast<unsigned>(lane));
}
template <typename T>
T __shfl_down_sync(unsigned, T value, int by) {
  const unsigned lane = emulator::now->number % 32;
  const emulator::Lanes<T> lanes("shfl_down", value);
  return lane + static_cast<unsigned>(by) < 32 ? lanes.of(lane + static_cast<unsigned>(by)) : value;
}
template <typename T>
T __shfl_up_sync(unsigned, T value, int by) {
  const unsigned lane = emulator::now->number % 32;
  const emulator::Lanes<T> lanes("shfl_up", value);
  return static_cast<unsigned>(by) <= lane ? lanes.of(lane - static_cast<unsigned>(by)) : value;
}
inline unsigned __ballot_sync(unsigned, bool value) {
  const emulator::Lanes<bool> lanes("ballot", value);
  unsigned all = 0;
  for (unsigned lane = 0; lane < 32; lane++) all |= static_cast<unsigned>(lanes.of(lane)) << lane;
  return all;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }

template <typename T>
T atomicAdd(T* at, T value) {
  T before = *at;
  *at += value;
  return before;
}
template <typename T>
T __ldg(const T* at) { return *at; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __expf(float x) { return std::exp(x); }
inline float power_of_2(float x) { return std::exp2(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __uint_as_float(uint32_t x) {
  float f;
  std::memcpy(&f, &x, 4);
  return f;
}
inline uint32_t __float_as_uint(float f) {
  uint32_t x;
  std::memcpy(&x, &f, 4);
  return x;
}
using std::max;
using std::min;

struct __nv_bfloat16 {
  uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }
// To the nearest, ties to even.
inline __nv_bfloat16 __float2bfloat16_rn(float f) {
  const uint32_t x = __float_as_uint(f);
  if ((x & 0x7fffffffu) > 0x7f800000u) return {0x7fff};
  return {static_cast<uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16)};
}

struct uint4 {
  uint32_t x, y, z, w;
};
struct uint2 {
  uint32_t x, y;
};
struct float4 {
  float x, y, z, w;
};
struct float2 {
  float x, y;
};

namespace emulator {
inline float half_of(uint32_t pair, unsigned half) {
  return __bfloat162float({static_cast<uint16_t>(half == 0 ? pair & 0xffffu : pair >> 16)});
}
struct Factors {
  uint32_t a[4], b[2];
};
}  // namespace emulator

// Products are exact in f32 pairs and added in f32, in ascending k.
inline void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  emulator::Factors mine;
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  const emulator::Lanes<emulator::Factors> lanes("mma", mine);
  const unsigned lane = emulator::now->number % 32, g = lane / 4, t = lane % 4;
  for (unsigned i = 0; i < 4; i++) {
    const unsigned row_half = i / 2, column = 2 * t + i % 2;
    float sum = d[i];
    for (unsigned k = 0; k < 16; k++) {
      const unsigned pair = k % 8 / 2, k_half = k / 8;
      const float left = emulator::half_of(lanes.of(g * 4 + pair).a[2 * k_half + row_half], k % 2);
      const float right = emulator::half_of(lanes.of(column * 4 + pair).b[k_half], k % 2);
      sum += left * right;
    }
    d[i] = sum;
  }
}

inline void mma_16x8x16(float (&d)[4], const float (&a)[8], const float (&b)[4]) {
  struct Factors {
    float a[8], b[4];
  } mine;
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  const emulator::Lanes<Factors> lanes("mma of f32", mine);
  const unsigned lane = emulator::now->number % 32, g = lane / 4, t = lane % 4;
  for (unsigned i = 0; i < 4; i++)
    for (unsigned k = 0; k < 16; k++) {
      const unsigned pair = k % 8 / 2, half = k / 8, odd = k % 2;
      d[i] += lanes.of(g * 4 + pair).a[4 * half + 2 * (i / 2) + odd] *
              lanes.of((2 * t + i % 2) * 4 + pair).b[2 * half + odd];
    }
}

inline void load_matrices_as(uint32_t (&r)[4], const __nv_bfloat16* row, bool transposed) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) emulator::fail("a row of a matrix is not at a multiple of 16 bytes");
  const emulator::Lanes<const __nv_bfloat16*> lanes(transposed ? "ldmatrix.trans" : "ldmatrix", row);
  const unsigned lane = emulator::now->number % 32;
  for (unsigned m = 0; m < 4; m++) {
    uint32_t both = 0;
    for (unsigned half = 0; half < 2; half++) {
      const unsigned major = lane / 4, minor = lane % 4 * 2 + half;
      const __nv_bfloat16* from = lanes.of(m * 8 + (transposed ? minor : major));
      both |= static_cast<uint32_t>(from[transposed ? major : minor].bits) << (16 * half);
    }
    r[m] = both;
  }
  // Nobody may write what a slower lane still reads.
  emulator::Lanes<int>("ldmatrix ends", 0);
}
inline void load_matrices(uint32_t (&r)[4], const __nv_bfloat16* row) { load_matrices_as(r, row, false); }
inline void load_matrices_transposed(uint32_t (&r)[4], const __nv_bfloat16* row) { load_matrices_as(r, row, true); }

inline void store_16_bytes(void* to, const void* from) {
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0) emulator::fail("a store of 16 bytes is not at a multiple of 16 bytes");
  std::memcpy(to, from, 16);
}
inline void copy_16_bytes(void* to, const void* from, bool there) {
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || (there && reinterpret_cast<uintptr_t>(from) % 16 != 0))
    emulator::fail("a copy of 16 bytes is not at a multiple of 16 bytes");
  emulator::now->commits.back().push_back({to, from, there});
}
inline void commit_copies() { emulator::now->commits.emplace_back(); }
template <int LEFT>
void copies_done() {
  emulator::finish_commits(LEFT);
}
