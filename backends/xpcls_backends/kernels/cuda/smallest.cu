// The k smallest entries of each row, in order, ties to the lowest column or the lowest name.
//
// One block a row. Each of its warps goes through a share of the columns and keeps the smallest of
// them, sorted, KEPT in every lane; an entry that is below the last of those waits in a queue, and
// 32 of the queue are sorted and merged at once. In the end the lists of the warps are merged.
// After Johnson, Douze and Jegou, Billion-scale similarity search with GPUs (2017), section 4, where
// each lane keeps a queue of its own.
//
// Entries are compared as keys: the entry in an order of unsigned numbers, then its name, which is
// its column where none is given. Of 32 bits each, both are one number.
// -DKEPT=L : k may be up to 32 L. -DNAMED=1 : names are given.

#ifndef KEPT
#define KEPT 1
#endif
#ifndef NAMED
#define NAMED 0
#endif
#define WARPS 4
#define AT_ONCE 4  // entries that each lane reads

// Bits that are in the order of the numbers. -0.0 and 0.0 are one number, and have one key.
static __device__ __forceinline__ unsigned ordered(float x) {
  const unsigned bits = __float_as_uint(x);
  if (bits == 0x80000000u) return bits;
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
static __device__ __forceinline__ unsigned ordered(int x) { return (unsigned)x ^ 0x80000000u; }
static __device__ __forceinline__ uint64 ordered(double x) {
  const uint64 bits = (uint64)__double_as_longlong(x), sign = 1ull << 63;
  if (bits == sign) return bits;
  return bits & sign ? ~bits : bits | sign;
}
static __device__ __forceinline__ void restore(unsigned order, float& x) {
  x = __uint_as_float(order & 0x80000000u ? order ^ 0x80000000u : ~order);
}
static __device__ __forceinline__ void restore(unsigned order, int& x) {
  x = (int)(order ^ 0x80000000u);
}
static __device__ __forceinline__ void restore(uint64 order, double& x) {
  const uint64 sign = 1ull << 63;
  x = __longlong_as_double((int64)(order & sign ? order ^ sign : ~order));
}

// A key of 64 bits and one of 96.
struct Narrow {
  uint64 both;
  __device__ __forceinline__ unsigned order() const { return (unsigned)(both >> 32); }
  __device__ __forceinline__ unsigned name() const { return (unsigned)both; }
};
struct Wide {
  uint64 entry;
  unsigned column;
  __device__ __forceinline__ uint64 order() const { return entry; }
  __device__ __forceinline__ unsigned name() const { return column; }
};
static __device__ __forceinline__ Narrow key_of(unsigned order, unsigned name) {
  return {(uint64)order << 32 | name};
}
static __device__ __forceinline__ Wide key_of(uint64 order, unsigned name) { return {order, name}; }
static __device__ __forceinline__ bool operator<(Narrow a, Narrow b) { return a.both < b.both; }
static __device__ __forceinline__ bool operator<(Wide a, Wide b) {
  return a.entry < b.entry || (a.entry == b.entry && a.column < b.column);
}
static __device__ __forceinline__ Narrow of_lane(Narrow key, int lane) {
  return {__shfl_sync(FULL_WARP, key.both, lane)};
}
static __device__ __forceinline__ Wide of_lane(Wide key, int lane) {
  const uint64 entry = __shfl_sync(FULL_WARP, key.entry, lane);
  return {entry, __shfl_sync(FULL_WARP, key.column, lane)};
}
static __device__ __forceinline__ Narrow across(Narrow key, int bit) {
  return {__shfl_xor_sync(FULL_WARP, key.both, bit)};
}
static __device__ __forceinline__ Wide across(Wide key, int bit) {
  const uint64 entry = __shfl_xor_sync(FULL_WARP, key.entry, bit);
  return {entry, __shfl_xor_sync(FULL_WARP, key.column, bit)};
}

// One step of a bitonic network: lanes that differ in `bit` exchange, the smaller goes down or up.
template <class Key> static __device__ __forceinline__ Key exchanged(Key key, int bit, bool up) {
  const Key other = across(key, bit);
  const bool lower = (lane_of(threadIdx.x) & bit) == 0;
  return (lower == up) == (other < key) ? other : key;
}
template <class Key> static __device__ Key sorted_over_lanes(Key key) {
  for (int size = 2; size <= 32; size *= 2)
    for (int bit = size / 2; bit > 0; bit /= 2)
      key = exchanged(key, bit, (lane_of(threadIdx.x) & size) == 0);
  return key;
}
// Of keys that ascend and then descend over the lanes.
template <class Key> static __device__ Key merged_over_lanes(Key key) {
  for (int bit = 16; bit > 0; bit /= 2) key = exchanged(key, bit, true);
  return key;
}

// Keep the smallest of what is kept, ascending over lanes and then over KEPT, and of 32 more keys.
template <class Key> static __device__ void keep(Key* kept, Key more) {
  more = sorted_over_lanes(more);
#pragma unroll
  for (int j = 0; j < KEPT; j++) {
    const Key backwards = of_lane(more, 31 - lane_of(threadIdx.x));
    const bool below = kept[j] < backwards;
    more = merged_over_lanes(below ? backwards : kept[j]);
    kept[j] = merged_over_lanes(below ? kept[j] : backwards);
  }
}
template <class Key> static __device__ Key kth_of(const Key* kept, int k) {
  Key found = kept[0];
#pragma unroll
  for (int j = 0; j < KEPT; j++) {
    const Key candidate = of_lane(kept[j], (k - 1) & 31);
    if (j == (k - 1) >> 5) found = candidate;
  }
  return found;
}

// What the kernels below are given. Entry j of a row is scale * x[j] + added[j], or x[j], bit by
// bit, where `added` is null.
template <class T> struct Rows {
  const T* x;
  const T* added;
  T scale;
  const int64* names;
  int64 stride;
  int n, k;
  T* values;
  int64* found;
};

template <class T, class Key>
static __device__ void smallest_of_row(const Rows<T>& rows, Key* queues, Key* lists) {
  const int64 start = blockIdx.x * rows.stride;
  const T* row = rows.x + start;
  const int64* names = NAMED ? rows.names + start : nullptr;
  const auto entry = [&](int j) {
    return rows.added ? row[j] * rows.scale + rows.added[j] : row[j];
  };
  const int n = rows.n, k = rows.k;
  T* values = rows.values + (size_t)blockIdx.x * k;
  int64* found = rows.found + (size_t)blockIdx.x * k;
  const Key none = key_of(~(decltype(ordered(T())))0, ~0u);
  const int lane = lane_of(threadIdx.x), warp = (int)threadIdx.x / 32;
  Key* queue = queues + warp * 64;
  Key kept[KEPT], bound = none;
  int waiting = 0;
#pragma unroll
  for (int j = 0; j < KEPT; j++) kept[j] = none;
  for (int first = warp * 32; first < n; first += AT_ONCE * WARPS * 32) {
    Key keys[AT_ONCE];  // on their way at once
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      const int j = first + i * WARPS * 32 + lane;
      keys[i] = j < n ? key_of(ordered(entry(j)), (unsigned)(NAMED ? names[j] : j)) : none;
    }
#pragma unroll
    for (int i = 0; i < AT_ONCE; i++) {
      const Key key = keys[i];
      const unsigned below = __ballot_sync(FULL_WARP, key < bound);
      if (below == 0) continue;
      if (key < bound) queue[waiting + __popc(below & ((1u << lane) - 1))] = key;
      waiting += __popc(below);
      __syncwarp();
      if (waiting < 32) continue;
      const Key now = queue[lane], later = lane + 32 < waiting ? queue[lane + 32] : none;
      __syncwarp();
      keep(kept, now);
      bound = kth_of(kept, k);
      waiting -= 32;
      if (lane < waiting) queue[lane] = later;
      __syncwarp();
    }
  }
  keep(kept, lane < waiting ? queue[lane] : none);
#pragma unroll
  for (int j = 0; j < KEPT; j++) lists[(warp * KEPT + j) * 32 + lane] = kept[j];
  __syncthreads();
  if (warp > 0) return;
  for (int i = KEPT; i < WARPS * KEPT; i++) keep(kept, lists[i * 32 + lane]);
#pragma unroll
  for (int j = 0; j < KEPT; j++) {
    const int place = j * 32 + lane;
    if (place < k) {
      const unsigned name = kept[j].name();
      found[place] = name;
      if (NAMED) {
        restore(kept[j].order(), values[place]);
      } else {
        values[place] = entry((int)name);
      }
    }
  }
}

// x (rows, n), each row `stride` entries after the last; added (n,) or null; 1 <= k <= n. names : as
// x, each from 0 to 2^32 - 1; not read unless NAMED. values, found : (rows, k), entries and their
// names, or columns. A block of 32 WARPS threads for each row.
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
smallest_f32(const float* x, const float* added, float scale, const int64* names, int64 stride,
             int n, int k, float* values, int64* found) {
  __shared__ Narrow queues[WARPS * 64];
  __shared__ Narrow lists[WARPS * KEPT * 32];
  const Rows<float> rows = {x, added, scale, names, stride, n, k, values, found};
  smallest_of_row(rows, queues, lists);
}
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
smallest_i32(const int* x, const int* added, int scale, const int64* names, int64 stride, int n,
             int k, int* values, int64* found) {
  __shared__ Narrow queues[WARPS * 64];
  __shared__ Narrow lists[WARPS * KEPT * 32];
  const Rows<int> rows = {x, added, scale, names, stride, n, k, values, found};
  smallest_of_row(rows, queues, lists);
}
extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
smallest_f64(const double* x, const double* added, double scale, const int64* names, int64 stride,
             int n, int k, double* values, int64* found) {
  __shared__ Wide queues[WARPS * 64];
  __shared__ Wide lists[WARPS * KEPT * 32];
  const Rows<double> rows = {x, added, scale, names, stride, n, k, values, found};
  smallest_of_row(rows, queues, lists);
}
