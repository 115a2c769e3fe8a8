// Direct distances of candidates, in float64: a warp for each pair of a query and a point.
//
// -DPIXEL= the type of the rows.

#ifndef PIXEL
#define PIXEL float
#endif

// keys[i, j] = sum of |q - p| over the features, or of (q - p)^2 where `squared`, of query i and of
// the point candidates[i, j], both multiplied by `factor` before; for j from first to last - 1.
// Where limits are given, of those pairs alone with slope * scanned[i, j] + offsets[i] <= limits[i];
// keys of others are left as they are.
// queries (n, length), points (N, length), candidates, keys and scanned (n, m), offsets and limits
// (n,) or all three null. Of each pair all lanes add up every 32nd feature, and the lanes are added
// in one order, so that equal rows have equal keys.
extern "C" __global__ void __launch_bounds__(256, 1)
direct_keys(const PIXEL* queries, const PIXEL* points, const int64* candidates, double* keys,
            const float* scanned, const double* offsets, const double* limits, double slope, int n,
            int m, int first, int last, int length, double factor, int squared) {
  const int64 pair = (int64)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  const int64 i = pair / (last - first);
  if (i >= n) return;
  const int64 at = i * m + first + pair % (last - first);
  if (limits && !(slope * (double)scanned[at] + offsets[i] <= limits[i])) return;
  const PIXEL* query = queries + i * length;
  const PIXEL* point = points + candidates[at] * length;
  double sum = 0.0;
  for (int d = lane_of(threadIdx.x); d < length; d += 32) {
    const double difference = widened(query[d]) * factor - widened(point[d]) * factor;
    sum += squared ? difference * difference : fabs(difference);
  }
  for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, bit);
  if (lane_of(threadIdx.x) == 0) keys[at] = sum;
}
