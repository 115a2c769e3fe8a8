// The part of CUDA C++ that the kernels of xpcls use, for a C++17 compiler of the CPU.
//
// tests/cuda/simulator.py puts this before the source of a kernel and calls what comes out. It
// knows no GPU's speed; it finds what is wrong in a kernel whatever GPU runs it: a barrier that is
// missing (threads run one after the other, in several orders), or that not all threads reach; a
// warp's collective that not the whole warp calls; shared memory that was read before it was
// written (it is filled with NaN). Reads and writes out of bounds are found by the caller, which
// fills what lies around every array.
//
// Two engines. By default each CUDA thread is a fiber, and another runs when one waits. With
// -DTHREADS each is a thread of the system, so that ThreadSanitizer sees races; one block at a time.
//
// What kernels keep to: __global__ functions are extern "C" and no templates; shared arrays are
// declared in them, or come from DYNAMIC_SHARED; collectives name the full warp, and blocks that
// use them have a multiple of 32 threads.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

// ---- words of the language ---------------------------------------------------------------------

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static __attribute__((section("cuda_shared")))

using std::max;
using std::min;

struct dim3 { unsigned x, y, z; };
struct uint2 { unsigned x, y; };
struct __align__(16) uint4 { unsigned x, y, z, w; };
struct __align__(16) float4 { float x, y, z, w; };
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

static thread_local dim3 threadIdx, blockIdx;
static dim3 blockDim, gridDim;

template <class To, class From> static inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "of one size");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
static inline float __uint_as_float(unsigned u) { return bits_as<float>(u); }
static inline unsigned __float_as_uint(float f) { return bits_as<unsigned>(f); }
static inline long long __double_as_longlong(double x) { return bits_as<long long>(x); }
static inline double __longlong_as_double(long long x) { return bits_as<double>(x); }
static inline float __int_as_float(int i) { return bits_as<float>(i); }
static inline int __float_as_int(float f) { return bits_as<int>(f); }
static inline int __popc(unsigned u) { return __builtin_popcount(u); }
static inline unsigned __vsadu4(unsigned a, unsigned b) {  // sum of |a - b| over four bytes
  unsigned sum = 0;
  for (int shift = 0; shift < 32; shift += 8)
    sum += (unsigned)std::abs((int)(a >> shift & 255) - (int)(b >> shift & 255));
  return sum;
}
static inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline unsigned atomicAdd(unsigned* p, unsigned v) {
  return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}

// ---- one launch --------------------------------------------------------------------------------

struct Launch {
  dim3 grid, block;
  size_t dynamic_bytes;
  int cooperative;  // all blocks at once, so that they can wait for each other
  int order;        // of threads: 0 ascending, 1 descending, 2 drawn afresh each time
  unsigned seed;
  int waits;  // whether threads wait for each other; else they need no fibers
};

static char last_error[512];
[[noreturn]] static void fail(const char* what, int line) {
  snprintf(last_error, sizeof last_error, "%s (line %d, block %u %u, thread %u %u)", what, line,
           blockIdx.x, blockIdx.y, threadIdx.x, threadIdx.y);
  throw std::string(last_error);
}

extern "C" char __start_cuda_shared[] __attribute__((weak));
extern "C" char __stop_cuda_shared[] __attribute__((weak));
static size_t shared_bytes() { return (size_t)(__stop_cuda_shared - __start_cuda_shared); }
static const char POISON = (char)0xFF;  // NaN as a float, -1 as an integer
static char* dynamic_memory;
static char* aligned(std::vector<char>& memory) {
  return (char*)(((uintptr_t)memory.data() + 127) / 128 * 128);
}
static dim3 position(size_t i, dim3 size) {
  return {(unsigned)(i % size.x), (unsigned)(i / size.x % size.y), (unsigned)(i / size.x / size.y)};
}

#ifndef THREADS
// ---- fibers ------------------------------------------------------------------------------------

enum State { READY, AT_BLOCK, AT_WARP, AT_GRID, DONE };

struct Fiber {
  State state;
  int line;         // where it waits
  unsigned thread;  // within its block
  size_t block;
  int turn;  // which of two buffers its next exchange takes
  bool started;
  char* stack;
  jmp_buf place;
  ucontext_t context;
};
struct Warp {
  uint64_t values[2][32];
  unsigned arrived[2], left[2];
};
struct Block {
  dim3 index;
  std::vector<char> shared, dynamic;
  std::vector<Warp> warps;
};

static const size_t STACK = 96 * 1024;
static std::vector<Fiber> fibers;
static std::vector<Block> blocks;
static jmp_buf scheduler;
static Fiber* running;
static long current_block;  // whose shared memory lies in place
static void (*body)(void*);
static void* body_argument;
static std::string* thrown;

static void wait_as(State state, int line) {
  running->state = state;
  running->line = line;
  if (!_setjmp(running->place)) _longjmp(scheduler, 1);
}
static void fiber_main() {
  try {
    body(body_argument);
  } catch (std::string& message) {
    thrown = new std::string(message);
  }
  running->state = DONE;
  _longjmp(scheduler, 1);
}
static void wait_for_block(int line) { wait_as(AT_BLOCK, line); }
static bool cooperative;
static void wait_for_all(int line) {
  if (!cooperative) fail("the grid's barrier in a launch that is not cooperative", line);
  wait_as(AT_GRID, line);
}

// Every lane gives one value and gets all 32.
static void exchange(uint64_t value, uint64_t* all, int line) {
  Warp& warp = blocks[running->block].warps[running->thread / 32];
  const unsigned lane = running->thread % 32;
  const int turn = running->turn;
  running->turn ^= 1;
  warp.values[turn][lane] = value;
  warp.arrived[turn] |= 1u << lane;
  if (warp.arrived[turn] != ~0u) wait_as(AT_WARP, 2 * line + turn);
  memcpy(all, warp.values[turn], sizeof warp.values[turn]);
  warp.left[turn] |= 1u << lane;
  if (warp.left[turn] == ~0u) warp.arrived[turn] = warp.left[turn] = 0;
}

static void bring_in(size_t block) {
  if ((long)block == current_block) return;
  const size_t size = shared_bytes();
  if (size && current_block >= 0)
    memcpy(blocks[current_block].shared.data(), __start_cuda_shared, size);
  if (size) memcpy(__start_cuda_shared, blocks[block].shared.data(), size);
  current_block = (long)block;
  dynamic_memory = blocks[block].dynamic.empty() ? nullptr : aligned(blocks[block].dynamic);
}

static void resume(Fiber& fiber) {
  bring_in(fiber.block);
  running = &fiber;
  blockIdx = blocks[fiber.block].index;
  threadIdx = position(fiber.thread, blockDim);
  if (_setjmp(scheduler)) return;  // it waits, or is done
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, fiber_main, 0);
  setcontext(&fiber.context);
}

// 0 .. n-1 as threads, or blocks, take turns.
static void take_turns(std::vector<size_t>& turns, const Launch& launch, unsigned& random) {
  const size_t n = turns.size();
  for (size_t i = 0; i < n; i++) turns[i] = launch.order == 1 ? n - 1 - i : i;
  for (size_t i = n - 1; launch.order == 2 && i > 0; i--) {
    random = random * 1664525u + 1013904223u;
    std::swap(turns[i], turns[(random >> 8) % (i + 1)]);
  }
}

// No thread of a block can go on: let those that wait for each other, if all do, or say who waits for
// ever. False if none does: they are done, or wait for the grid.
static bool release(size_t block) {
  const size_t threads = fibers.size() / blocks.size();
  size_t states[DONE + 1] = {};
  int line = -1;
  bool one_line = true;
  for (size_t t = 0; t < threads; t++) {
    const Fiber& fiber = fibers[block * threads + t];
    states[fiber.state]++;
    if (fiber.state == AT_BLOCK) one_line = one_line && (line < 0 || fiber.line == line);
    if (fiber.state == AT_BLOCK || (fiber.state != DONE && line < 0))
      line = fiber.state == AT_WARP ? fiber.line / 2 : fiber.line;
  }
  blockIdx = blocks[block].index;
  threadIdx = {0, 0, 0};
  if (states[DONE] == threads || states[AT_GRID] == threads) return false;
  if (!states[AT_BLOCK])
    fail("deadlock: not all threads reach a warp's collective or the grid's barrier", line);
  if (states[AT_BLOCK] < threads)
    fail("__syncthreads not reached by all threads of the block", line);
  if (!one_line) fail("divergent __syncthreads: threads of a block wait at two lines", line);
  for (size_t t = 0; t < threads; t++) fibers[block * threads + t].state = READY;
  return true;
}

// As far as a block comes without the others.
static void run_block(size_t block, const Launch& launch, unsigned& random) {
  std::vector<size_t> turns(fibers.size() / blocks.size());
  for (;;) {
    take_turns(turns, launch, random);
    bool progress = false;
    for (size_t t : turns) {
      Fiber& fiber = fibers[block * turns.size() + t];
      if (fiber.state == AT_WARP &&
          blocks[block].warps[t / 32].arrived[fiber.line & 1] == ~0u)
        fiber.state = READY;
      if (fiber.state != READY) continue;
      progress = true;
      resume(fiber);
      if (thrown) {
        std::string message = *thrown;
        delete thrown;
        throw message;
      }
    }
    if (!progress && !release(block)) return;
  }
}

// Block after block, each until it is done or waits for the grid: so far apart may they run.
static void run_together(const Launch& launch, unsigned& random) {
  std::vector<size_t> turns(blocks.size());
  for (;;) {
    take_turns(turns, launch, random);
    for (size_t block : turns) run_block(block, launch, random);
    const Fiber* waits = nullptr;
    size_t waiting = 0;
    for (const Fiber& fiber : fibers)
      if (fiber.state == AT_GRID) waits = &fiber, waiting++;
    if (!waiting) return;
    if (waiting < fibers.size())
      fail("deadlock: not all blocks reach the grid's barrier", waits->line);
    for (Fiber& fiber : fibers) fiber.state = READY;
  }
}

static void run_alone(const Launch& launch, void (*kernel)(void*), void* argument) {
  const size_t threads = (size_t)blockDim.x * blockDim.y * blockDim.z;
  const size_t total = threads * gridDim.x * gridDim.y * gridDim.z;
  for (size_t i = 0; i < total; i++) {
    const size_t t = launch.order == 0 ? i : total - 1 - i;
    blockIdx = position(t / threads, gridDim);
    threadIdx = position(t % threads, blockDim);
    kernel(argument);
  }
}

static void run(const Launch& launch, void (*kernel)(void*), void* argument) {
  blockDim = launch.block;
  gridDim = launch.grid;
  if (!launch.waits) return run_alone(launch, kernel, argument);
  body = kernel;
  body_argument = argument;
  thrown = nullptr;
  const size_t threads = (size_t)blockDim.x * blockDim.y * blockDim.z;
  const size_t n_blocks = (size_t)gridDim.x * gridDim.y * gridDim.z;
  cooperative = launch.cooperative;
  const size_t together = launch.cooperative ? n_blocks : 1;
  unsigned random = launch.seed * 2654435761u + 1;
  std::vector<char> stacks(together * threads * STACK);
  fibers.resize(together * threads);
  for (size_t start = 0; start < n_blocks; start += together) {
    blocks.assign(together, Block());
    current_block = -1;
    for (size_t i = 0; i < together; i++) {
      const size_t at = start + i;
      const bool backwards = launch.order == 1 && !launch.cooperative;
      blocks[i].index = position(backwards ? n_blocks - 1 - at : at, gridDim);
      blocks[i].shared.assign(shared_bytes(), POISON);
      if (launch.dynamic_bytes) blocks[i].dynamic.assign(launch.dynamic_bytes + 128, POISON);
      blocks[i].warps.assign((threads + 31) / 32, Warp());
      for (size_t t = 0; t < threads; t++) {
        Fiber& fiber = fibers[i * threads + t];
        fiber.state = READY;
        fiber.thread = (unsigned)t;
        fiber.block = i;
        fiber.turn = 0;
        fiber.started = false;
        fiber.stack = &stacks[(i * threads + t) * STACK];
      }
    }
    run_together(launch, random);
  }
}
#else
// ---- threads of the system ---------------------------------------------------------------------

class Barrier {
  std::mutex mutex;
  std::condition_variable all_there;
  unsigned arrived = 0, round = 0;

 public:
  unsigned total = 0;
  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    const unsigned mine = round;
    if (++arrived == total) {
      arrived = 0;
      round++;
      all_there.notify_all();
    } else {
      all_there.wait(lock, [&] { return round != mine; });
    }
  }
};
struct Warp {
  Barrier barrier;
  uint64_t values[2][32];
};

static Barrier of_block;
static std::vector<Warp>* warps;
static thread_local unsigned this_thread, turn;

static void wait_for_block(int) { of_block.wait(); }
static void wait_for_all(int line) {
  if (gridDim.x * gridDim.y * gridDim.z != 1) fail("this engine runs one block at a time", line);
  of_block.wait();
}
static void exchange(uint64_t value, uint64_t* all, int) {
  Warp& warp = (*warps)[this_thread / 32];
  warp.values[turn][this_thread % 32] = value;
  warp.barrier.wait();
  memcpy(all, warp.values[turn], sizeof warp.values[turn]);
  turn ^= 1;
}
static void run(const Launch& launch, void (*kernel)(void*), void* argument) {
  blockDim = launch.block;
  gridDim = launch.grid;
  const unsigned threads = blockDim.x * blockDim.y * blockDim.z;
  std::vector<char> dynamic(launch.dynamic_bytes + 128);
  dynamic_memory = aligned(dynamic);
  for (size_t b = 0; b < (size_t)gridDim.x * gridDim.y * gridDim.z; b++) {
    std::vector<Warp> of_this_block((threads + 31) / 32);
    for (Warp& warp : of_this_block) warp.barrier.total = 32;
    warps = &of_this_block;
    of_block.total = threads;
    std::vector<std::thread> team;
    for (unsigned t = 0; t < threads; t++)
      team.emplace_back([=] {
        this_thread = t;
        threadIdx = position(t, blockDim);
        blockIdx = position(b, gridDim);
        kernel(argument);
      });
    for (std::thread& thread : team) thread.join();
  }
}
#endif

// ---- barriers and collectives ------------------------------------------------------------------

#define __syncthreads() wait_for_block(__LINE__)
#define GRID_ARRIVE(counter) arrive_at_grid(counter, __LINE__)
#define GRID_WAIT(counter, all) wait_for_grid(counter, all, __LINE__)
#define DYNAMIC_SHARED(T, name) T* name = reinterpret_cast<T*>(dynamic_memory)

// The grid's barrier stands where blocks arrive or where they wait, as threads take turns: what is
// written too late, or read too early, shows with one or the other.
static bool waits_on_arrival;
static void arrive_at_grid(unsigned* counter, int line) {
  wait_for_block(line);
  if (threadIdx.x == 0) atomicAdd(counter, 1u);
  if (waits_on_arrival) wait_for_all(line);
}
static void wait_for_grid(unsigned* counter, unsigned all, int line) {
  waits_on_arrival ? wait_for_block(line) : wait_for_all(line);
  if (__atomic_load_n(counter, __ATOMIC_SEQ_CST) - all >= gridDim.x)
    fail("the grid's barrier waits for another count than there is", line);
}

static inline unsigned lane_of_thread() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}
template <class T> struct Lanes {
  uint64_t all[32];
  Lanes(unsigned mask, T value, int line) {
    if (mask != ~0u) fail("a warp's collective without the full warp", line);
    uint64_t word = 0;
    memcpy(&word, &value, sizeof value);
    exchange(word, all, line);
  }
  T operator[](unsigned lane) const {
    T value;
    memcpy(&value, &all[lane % 32], sizeof value);
    return value;
  }
};
template <class T> static inline T shuffle(unsigned mask, T value, unsigned from, int line) {
  return Lanes<T>(mask, value, line)[from];
}
static inline unsigned ballot(unsigned mask, bool vote, int line) {
  Lanes<int> votes(mask, vote, line);
  unsigned result = 0;
  for (unsigned lane = 0; lane < 32; lane++) result |= (unsigned)votes[lane] << lane;
  return result;
}
#define __shfl_sync(mask, value, from) shuffle(mask, value, from, __LINE__)
#define __shfl_xor_sync(mask, value, x) shuffle(mask, value, lane_of_thread() ^ (x), __LINE__)
#define __ballot_sync(mask, vote) ballot(mask, (vote) != 0, __LINE__)
#define __any_sync(mask, vote) (ballot(mask, (vote) != 0, __LINE__) != 0)
#define __syncwarp() ((void)ballot(~0u, true, __LINE__))

// ---- what simulator.py calls -------------------------------------------------------------------

// The kind and size of a parameter: "f4", "i4", "u4"; with "*" before it a pointer, "c*" to const.
template <class T> static std::string code_of() {
  using Pointed = std::remove_pointer_t<T>;
  using Plain = std::remove_cv_t<Pointed>;
  std::string code = !std::is_pointer_v<T> ? "" : std::is_const_v<Pointed> ? "c*" : "*";
  code += std::is_floating_point_v<Plain> ? "f" : std::is_signed_v<Plain> ? "i" : "u";
  return code + std::to_string(sizeof(Plain));
}
template <class... A> static std::string codes_of(void (*)(A...)) {
  std::string codes;
  ((codes += (codes.empty() ? "" : ",") + code_of<A>()), ...);
  return codes;
}
template <class... A, size_t... I>
static void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*(std::remove_const_t<A>*)arguments[I]...);
}
template <class... A>
static int launch(void (*kernel)(A...), const Launch& how, void** arguments) {
  waits_on_arrival = (how.order + how.seed) % 2;
  struct Call {
    void (*kernel)(A...);
    void** arguments;
  } one{kernel, arguments};
  try {
    run(how, [](void* given) {
      Call* c = (Call*)given;
      call(c->kernel, c->arguments, std::index_sequence_for<A...>());
    }, &one);
    return 0;
  } catch (std::string& message) {
    snprintf(last_error, sizeof last_error, "%s", message.c_str());
    return 1;
  }
}
extern "C" const char* simulator_error() { return last_error; }
#define EXPORT(kernel)                                                        \
  extern "C" int launch_##kernel(const Launch* how, void** arguments) {       \
    return launch(&kernel, *how, arguments);                                  \
  }                                                                           \
  extern "C" const char* codes_##kernel() {                                   \
    static std::string codes = codes_of(&kernel);                             \
    return codes.c_str();                                                     \
  }
