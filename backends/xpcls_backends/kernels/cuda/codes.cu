// Bytes as signed codes for the tensor cores: x - 128, and the sum of their squares. A warp a row.

// x (n, length); codes (rows, width), filled up with 0; squares (n,). width >= length, rows >= n.
extern "C" __global__ void __launch_bounds__(256, 1)
byte_codes(const unsigned char* __restrict__ x, signed char* __restrict__ codes,
           int* __restrict__ squares, int n, int rows, int length, int width) {
  const int row = (int)(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (row >= rows) return;
  int sum = 0;
  for (int d = lane_of(threadIdx.x); d < width; d += 32) {
    const int code = row < n && d < length ? (int)x[(size_t)row * length + d] - 128 : 0;
    codes[(size_t)row * width + d] = (signed char)code;
    sum += code * code;
  }
  for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, bit);
  if (lane_of(threadIdx.x) == 0 && row < n) squares[row] = sum;
}
