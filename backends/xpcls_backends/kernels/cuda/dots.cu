// Dot products of rows with rows of the same place: a warp for each pair, which reads whole lines,
// READ numbers a lane on their way at once. -DNUMBER= float or double.

#ifndef NUMBER
#define NUMBER float
#endif
#define READ 4

// a, b (n, length); out (n,).
extern "C" __global__ void __launch_bounds__(256, 2)
row_dots(const NUMBER* a, const NUMBER* b, NUMBER* out, int n, int length) {
  const unsigned row = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
  if (row >= (unsigned)n) return;
  const int lane = lane_of(threadIdx.x);
  a += (size_t)row * length;
  b += (size_t)row * length;
  NUMBER sums[READ] = {};
  int k = lane;
  for (; k < length - 32 * (READ - 1); k += 32 * READ)
#pragma unroll
    for (int j = 0; j < READ; j++) sums[j] += a[k + 32 * j] * b[k + 32 * j];
  for (; k < length; k += 32) sums[0] += a[k] * b[k];
  NUMBER sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, bit);
  if (lane == 0) out[row] = sum;
}
