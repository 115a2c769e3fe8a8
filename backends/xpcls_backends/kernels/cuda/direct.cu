// Direct distances of candidates, in float64: a warp for each pair of a query and a point.
//
// -DPIXEL= the type of the rows.

#ifndef PIXEL
#define PIXEL float
#endif

// Kernels are compiled so that a float below the smallest normal one is taken for 0, here too; its
// bits are not.
static __device__ __forceinline__ double widened(float x) {
  const unsigned bits = __float_as_uint(x);
  if (bits & 0x7f800000u) return (double)x;
  const double magnitude = (double)(int)(bits & 0x7fffffu) * 0x1p-149;
  return bits & 0x80000000u ? -magnitude : magnitude;
}
static __device__ __forceinline__ double widened(double x) { return x; }
static __device__ __forceinline__ double widened(unsigned char x) { return (double)x; }

// keys[i, j] = sum of |q - p| over the features, or of (q - p)^2 where `squared`, of query i and of
// the point candidates[i, j], both multiplied by `factor` before.
// queries (n, length), points (N, length), candidates and keys (n, m). Of each pair all lanes add up
// every 32nd feature, and the lanes are added in one order, so that equal rows have equal keys.
extern "C" __global__ void __launch_bounds__(256, 1)
direct_keys(const PIXEL* queries, const PIXEL* points, const int64* candidates, double* keys,
            int64 pairs, int m, int length, double factor, int squared) {
  const int64 pair = (int64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (pair >= pairs) return;
  const PIXEL* query = queries + (pair / m) * length;
  const PIXEL* point = points + candidates[pair] * length;
  double sum = 0.0;
  for (int d = lane_of(threadIdx.x); d < length; d += 32) {
    const double difference = widened(query[d]) * factor - widened(point[d]) * factor;
    sum += squared ? difference * difference : fabs(difference);
  }
  for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, bit);
  if (lane_of(threadIdx.x) == 0) keys[pair] = sum;
}
