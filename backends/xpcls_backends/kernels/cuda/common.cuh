// Stands before every source of this folder. Three compilers read them: NVRTC on a machine with a
// GPU and in the test that compiles for all generations, and the CPU's in tests/cuda/simulator.py,
// which brings its own GRID_BARRIER and DYNAMIC_SHARED.

typedef unsigned long long uint64;
typedef long long int64;

#define FULL_WARP 0xffffffffu

#ifdef __CUDACC__
#define DYNAMIC_SHARED(T, name)                                   \
  extern __shared__ __align__(16) unsigned char dynamic_memory[]; \
  T* name = reinterpret_cast<T*>(dynamic_memory)

// All blocks wait for each other: they must all be on the card (a cooperative launch sees to it).
// `counter` is 0 before the first barrier of its life, and only grows.
#define GRID_BARRIER(counter) wait_for_grid(counter)
static __device__ __forceinline__ void wait_for_grid(unsigned* counter) {
  __syncthreads();
  if (threadIdx.x == 0) {
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
    __threadfence();
    const unsigned all_there = (atomicAdd(counter, 1u) / blocks + 1) * blocks;
    while ((int)(*(volatile unsigned*)counter - all_there) < 0) {
    }
    __threadfence();
  }
  __syncthreads();
}
#endif

static __device__ __forceinline__ int lane_of(unsigned thread) { return (int)(thread & 31); }
