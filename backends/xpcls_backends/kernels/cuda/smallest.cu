// The k smallest entries of each row, in order, ties to the lowest column.
//
// One block a row. Each of its warps goes through a share of the columns and keeps the smallest of
// them, sorted, KEPT in every lane; an entry that is below the last of those waits in a queue, and
// 32 of the queue are sorted and merged at once. In the end the lists of the warps are merged.
// After Johnson, Douze and Jegou, Billion-scale similarity search with GPUs (2017), section 4, where
// each lane keeps a queue of its own.
//
// Entries are compared as 64-bit keys: the entry in an order of unsigned numbers, then its column.
// -DKEPT=L : k may be up to 32 L.

#ifndef KEPT
#define KEPT 1
#endif
#define WARPS 4
#define AT_ONCE 4  // entries that each lane reads
#define NONE 0xffffffffffffffffull

// Bits that are in the order of the numbers. -0.0 and 0.0 are one number, and have one key.
static __device__ __forceinline__ unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x);
  if (bits == 0x80000000u) return bits;
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
static __device__ __forceinline__ unsigned ordered(int x) { return (unsigned)x ^ 0x80000000u; }

// One step of a bitonic network: lanes that differ in `bit` exchange, the smaller goes down or up.
static __device__ __forceinline__ uint64 exchanged(uint64 key, int bit, bool ascending) {
  const uint64 other = __shfl_xor_sync(FULL_WARP, key, bit);
  const bool lower = (lane_of(threadIdx.x) & bit) == 0;
  return (lower == ascending) == (other < key) ? other : key;
}
static __device__ uint64 sorted_over_lanes(uint64 key) {
  for (int size = 2; size <= 32; size *= 2)
    for (int bit = size / 2; bit > 0; bit /= 2)
      key = exchanged(key, bit, (lane_of(threadIdx.x) & size) == 0);
  return key;
}
// Of keys that ascend and then descend over the lanes.
static __device__ uint64 merged_over_lanes(uint64 key) {
  for (int bit = 16; bit > 0; bit /= 2) key = exchanged(key, bit, true);
  return key;
}

// Keep the smallest of what is kept, ascending over lanes and then over KEPT, and of 32 more keys.
static __device__ void keep(uint64* kept, uint64 more) {
  more = sorted_over_lanes(more);
#pragma unroll
  for (int j = 0; j < KEPT; j++) {
    const uint64 backwards = __shfl_sync(FULL_WARP, more, 31 - lane_of(threadIdx.x));
    const bool below = kept[j] < backwards;
    more = merged_over_lanes(below ? backwards : kept[j]);
    kept[j] = merged_over_lanes(below ? kept[j] : backwards);
  }
}
static __device__ uint64 kth_of(const uint64* kept, int k) {
  uint64 found = NONE;
#pragma unroll
  for (int j = 0; j < KEPT; j++) {
    const uint64 candidate = __shfl_sync(FULL_WARP, kept[j], (k - 1) & 31);
    if (j == (k - 1) >> 5) found = candidate;
  }
  return found;
}

// Entry j of a row is scale * row[j] + added[j], or row[j], bit by bit, where `added` is null.
template <class T> struct Entries {
  const T* row;
  const T* added;
  T scale;
  __device__ __forceinline__ T operator[](int j) const {
    return added ? row[j] * scale + added[j] : row[j];
  }
};

template <class T>
static __device__ void smallest_of_row(Entries<T> entries, int n, int k, T* values, int64* columns,
                                       uint64* queues, uint64* lists) {
  const int lane = lane_of(threadIdx.x), warp = (int)threadIdx.x / 32;
  uint64* queue = queues + warp * 64;
  uint64 kept[KEPT], bound = NONE;
  int waiting = 0;
#pragma unroll
  for (int j = 0; j < KEPT; j++) kept[j] = NONE;
  for (int first = warp * 32; first < n; first += AT_ONCE * WARPS * 32) {
    uint64 keys[AT_ONCE];  // on their way at once
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      const int j = first + i * WARPS * 32 + lane;
      keys[i] = j < n ? (uint64)ordered(entries[j]) << 32 | (unsigned)j : NONE;
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      const uint64 key = keys[i];
      const unsigned below = __ballot_sync(FULL_WARP, key < bound);
      if (below == 0) continue;
      if (key < bound) queue[waiting + __popc(below & ((1u << lane) - 1))] = key;
      waiting += __popc(below);
      __syncwarp();
      if (waiting < 32) continue;
      const uint64 now = queue[lane], later = lane + 32 < waiting ? queue[lane + 32] : NONE;
      __syncwarp();
      keep(kept, now);
      bound = kth_of(kept, k);
      waiting -= 32;
      if (lane < waiting) queue[lane] = later;
      __syncwarp();
    }
  }
  keep(kept, lane < waiting ? queue[lane] : NONE);
#pragma unroll
  for (int j = 0; j < KEPT; j++) lists[(warp * KEPT + j) * 32 + lane] = kept[j];
  __syncthreads();
  if (warp > 0) return;
  for (int i = KEPT; i < WARPS * KEPT; i++) keep(kept, lists[i * 32 + lane]);
#pragma unroll
  for (int j = 0; j < KEPT; j++) {
    const int place = j * 32 + lane;
    if (place < k) {
      const int column = (int)(kept[j] & 0xffffffffu);
      columns[place] = column;
      values[place] = entries[column];
    }
  }
}

// x (rows, n), each row `stride` entries after the last; added (n,) or null; 1 <= k <= n.
// A block of 32 WARPS threads for each row.
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
smallest_f32(const float* x, const float* added, float scale, int64 stride, int n, int k,
             float* values, int64* columns) {
  __shared__ uint64 queues[WARPS * 64];
  __shared__ uint64 lists[WARPS * KEPT * 32];
  const size_t row = blockIdx.x;
  const Entries<float> entries = {x + row * stride, added, scale};
  smallest_of_row(entries, n, k, values + row * k, columns + row * k, queues, lists);
}
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
smallest_i32(const int* x, const int* added, int scale, int64 stride, int n, int k, int* values,
             int64* columns) {
  __shared__ uint64 queues[WARPS * 64];
  __shared__ uint64 lists[WARPS * KEPT * 32];
  const size_t row = blockIdx.x;
  const Entries<int> entries = {x + row * stride, added, scale};
  smallest_of_row(entries, n, k, values + row * k, columns + row * k, queues, lists);
}
