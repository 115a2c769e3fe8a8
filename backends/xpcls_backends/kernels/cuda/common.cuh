// Stands before every source of this folder. Three compilers read them: NVRTC on a machine with a
// GPU and in the test that compiles for all generations, and the CPU's in tests/cuda/simulator.py,
// which brings its own GRID_ARRIVE, GRID_WAIT and DYNAMIC_SHARED.

typedef unsigned long long uint64;
typedef long long int64;

#define FULL_WARP 0xffffffffu

#ifdef __CUDACC__
#define DYNAMIC_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char dynamic_memory[]; \
  T* name = reinterpret_cast<T*>(dynamic_memory)

// All blocks wait for each other, in two parts: what a block does between them waits for nobody, and
// nobody waits for it. All blocks must be on the card (a cooperative launch sees to it). `counter` is
// 0 at the start of a launch; `all` is how often blocks have arrived at this barrier and those before.
#define GRID_ARRIVE(counter) arrive_at_grid(counter)
#define GRID_WAIT(counter, all) wait_for_grid(counter, all)
//
// A fence of acquire and release is enough, and costs less than __threadfence, which also puts all
// fences of the card in one order. Between the block's barriers it speaks for all threads of the
// block: PTX ISA, memory consistency model, causality order. CUTLASS's barriers are made so.
static __device__ __forceinline__ void fence_of_card() {
  asm volatile("fence.acq_rel.gpu;" ::: "memory");
}
static __device__ __forceinline__ void arrive_at_grid(unsigned* counter) {
  __syncthreads();
  if (threadIdx.x == 0) {
    fence_of_card();
    asm volatile("red.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
  }
}
static __device__ __forceinline__ void wait_for_grid(unsigned* counter, unsigned all) {
  if (threadIdx.x == 0) {
    unsigned there;
    do {
      asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(there) : "l"(counter) : "memory");
    } while ((int)(there - all) < 0);
    fence_of_card();
  }
  __syncthreads();
}
#endif

static __device__ __forceinline__ int lane_of(unsigned thread) { return (int)(thread & 31); }

// Kernels are compiled so that a float below the smallest normal one is taken for 0; its bits are
// not.
static __device__ __forceinline__ double widened(float x) {
  const unsigned bits = __float_as_uint(x);
  if (bits & 0x7f800000u) return (double)x;
  const double magnitude = (double)(int)(bits & 0x7fffffu) * 0x1p-149;
  return bits & 0x80000000u ? -magnitude : magnitude;
}
static __device__ __forceinline__ double widened(double x) { return x; }
static __device__ __forceinline__ double widened(unsigned char x) { return (double)x; }
