// Bytes as signed codes for the tensor cores: x - 128, and the sum of their squares. A warp a row.

// x (n, length); codes (n, width), filled up with 0; squares (n,). width >= length.
extern "C" __global__ void __launch_bounds__(256, 1)
byte_codes(const unsigned char* x, signed char* codes, int* squares, int n, int length, int width) {
  const int row = (int)(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (row >= n) return;
  int sum = 0;
  for (int d = lane_of(threadIdx.x); d < width; d += 32) {
    const int code = d < length ? (int)x[(size_t)row * length + d] - 128 : 0;
    codes[(size_t)row * width + d] = (signed char)code;
    sum += code * code;
  }
  for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, bit);
  if (lane_of(threadIdx.x) == 0) squares[row] = sum;
}
