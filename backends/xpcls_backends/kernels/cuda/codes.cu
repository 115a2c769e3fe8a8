// Rows as the tensor cores read them, and the sum of the squares of each. A warp a row.

// Bytes as signed ones: x - 128.
// x (n, length); codes (rows, width), filled up with 0; squares (n,). width >= length, rows >= n.
// words : where 4 divides length and the address of x, so that 4 bytes are read at a time, else 0.
extern "C" __global__ void __launch_bounds__(256, 1)
byte_codes(const unsigned char* __restrict__ x, signed char* __restrict__ codes,
           int* __restrict__ squares, int n, int rows, int length, int width, int words) {
  const int row = (int)(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (row >= rows) return;
  const unsigned char* from = x + (size_t)row * length;
  signed char* to = codes + (size_t)row * width;
  int sum = 0;
  for (int d = 4 * lane_of(threadIdx.x); d < width; d += 4 * 32) {
    unsigned word = 0x80808080u;
    if (row < n && words) {
      if (d < length) word = *(const unsigned*)(from + d);
    } else if (row < n) {
#pragma unroll
      for (int b = 0; b < 4; b++)
        if (d + b < length) word ^= (from[d + b] ^ 0x80u) << 8 * b;
    }
    word ^= 0x80808080u;  // one bit is 128, and in a signed byte -128
    *(unsigned*)(to + d) = word;
#pragma unroll
    for (int b = 0; b < 4; b++) {
      const int code = (signed char)(word >> 8 * b);
      sum += code * code;
    }
  }
  for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, bit);
  if (lane_of(threadIdx.x) == 0 && row < n) squares[row] = sum;
}

// Of a number that is rounded to float32: to 11 binary digits, ties to even, which is TF32.
static __device__ __forceinline__ float rounded(float x) {
  const unsigned bits = __float_as_uint(x);
  return __uint_as_float((bits + 0xfffu + ((bits >> 13) & 1u)) & ~0x1fffu);
}

// Floats: x - centre, rounded; the sums are those of x - centre in float64.
// centre (length,); all else as above.
extern "C" __global__ void __launch_bounds__(256, 1)
float_codes(const float* __restrict__ x, const float* __restrict__ centre,
            float* __restrict__ codes, double* __restrict__ squares, int n, int rows, int length,
            int width) {
  const int row = (int)(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32);
  if (row >= rows) return;
  double sum = 0.0;
  for (int d = lane_of(threadIdx.x); d < width; d += 32) {
    const bool inside = row < n && d < length;
    const double value =
        inside ? widened(x[(size_t)row * length + d]) - widened(centre[d]) : 0.0;
    codes[(size_t)row * width + d] = rounded((float)value);
    sum += value * value;
  }
  for (int bit = 16; bit > 0; bit /= 2) sum += __shfl_xor_sync(FULL_WARP, sum, bit);
  if (lane_of(threadIdx.x) == 0 && row < n) squares[row] = sum;
}
