// Sums of |a - b| for every pair of rows: a tile of 128 x 128 pairs in a block of 256 threads, 8 x 8
// in each thread, while the next part of the rows is on its way.
//
// Bytes go four at a time through VABSDIFF4, which adds the four differences to an integer sum:
// exact. Floats take two additions a pair and feature, whose order is that of the features.

#define TILE 128
#define WORDS 8               // of each row at a time; a word is one float or four bytes
#define ROW_OF_WORDS (TILE + 4)  // so that threads that write do not meet in one bank

static __device__ __forceinline__ int with_difference(int sum, unsigned a, unsigned b) {
#ifdef __CUDACC__
  int more;
  asm("vabsdiff4.u32.u32.u32.add %0, %1, %2, %3;" : "=r"(more) : "r"(a), "r"(b), "r"(sum));
  return more;
#else
  return sum + (int)__vsadu4(a, b);
#endif
}
static __device__ __forceinline__ float with_difference(float sum, unsigned a, unsigned b) {
  return sum + fabsf(__uint_as_float(a) - __uint_as_float(b));
}

// The row or column of a tile that a thread's i-th sum belongs to: four here, four 64 further on.
static __device__ __forceinline__ int place_of(int i, int thread) {
  return (i < 4 ? 0 : 60) + thread * 4 + i;
}

// a (n_a, 16 vectors), b (n_b, 16 vectors), rows of whole 16 bytes; out (n_a, n_b).
template <class Sum>
static __device__ void sum_differences(const uint4* a, const uint4* b, Sum* out, int n_a, int n_b,
                                       int vectors, unsigned* of_a, unsigned* of_b) {
  const int thread = (int)threadIdx.x, x = thread % 16, y = thread / 16;
  const int first_a = (int)blockIdx.y * TILE, first_b = (int)blockIdx.x * TILE;
  // Two threads bring in what is next of one row; rows past the end stand for the last one.
  const int row = thread / 2, half = thread % 2;
  const uint4* from_a = a + (size_t)min(first_a + row, n_a - 1) * vectors;
  const uint4* from_b = b + (size_t)min(first_b + row, n_b - 1) * vectors;
  const uint4 nothing = make_uint4(0, 0, 0, 0);
  Sum sums[8][8];
#pragma unroll
  for (int i = 0; i < 8; i++)
#pragma unroll
    for (int j = 0; j < 8; j++) sums[i][j] = 0;
  uint4 next_a = half < vectors ? from_a[half] : nothing;
  uint4 next_b = half < vectors ? from_b[half] : nothing;
  for (int v = 0, buffer = 0; v < vectors; v += 2, buffer ^= 1) {
    unsigned* here_a = of_a + buffer * WORDS * ROW_OF_WORDS;
    unsigned* here_b = of_b + buffer * WORDS * ROW_OF_WORDS;
    unsigned* put_a = here_a + half * 4 * ROW_OF_WORDS + row;
    unsigned* put_b = here_b + half * 4 * ROW_OF_WORDS + row;
    put_a[0 * ROW_OF_WORDS] = next_a.x;
    put_a[1 * ROW_OF_WORDS] = next_a.y;
    put_a[2 * ROW_OF_WORDS] = next_a.z;
    put_a[3 * ROW_OF_WORDS] = next_a.w;
    put_b[0 * ROW_OF_WORDS] = next_b.x;
    put_b[1 * ROW_OF_WORDS] = next_b.y;
    put_b[2 * ROW_OF_WORDS] = next_b.z;
    put_b[3 * ROW_OF_WORDS] = next_b.w;
    __syncthreads();
    if (v + 2 < vectors) {
      const int next = v + 2 + half;
      next_a = next < vectors ? from_a[next] : nothing;
      next_b = next < vectors ? from_b[next] : nothing;
    }
#pragma unroll
    for (int w = 0; w < WORDS; w++) {
      const unsigned* line_a = here_a + w * ROW_OF_WORDS + y * 4;
      const unsigned* line_b = here_b + w * ROW_OF_WORDS + x * 4;
      const uint4 a0 = *(const uint4*)line_a, a1 = *(const uint4*)(line_a + 64);
      const uint4 b0 = *(const uint4*)line_b, b1 = *(const uint4*)(line_b + 64);
      const unsigned ours[8] = {a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w};
      const unsigned theirs[8] = {b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w};
#pragma unroll
      for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) sums[i][j] = with_difference(sums[i][j], ours[i], theirs[j]);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; i++) {
    const int at_a = first_a + place_of(i, y);
    if (at_a >= n_a) continue;
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const int at_b = first_b + place_of(j, x);
      if (at_b < n_b) out[(size_t)at_a * n_b + at_b] = sums[i][j];
    }
  }
}

extern "C" __global__ void __launch_bounds__(256, 2)
l1_u8(const unsigned char* a, const unsigned char* b, int* out, int n_a, int n_b, int vectors) {
  __shared__ __align__(16) unsigned of_a[2 * WORDS * ROW_OF_WORDS];
  __shared__ __align__(16) unsigned of_b[2 * WORDS * ROW_OF_WORDS];
  sum_differences((const uint4*)a, (const uint4*)b, out, n_a, n_b, vectors, of_a, of_b);
}
extern "C" __global__ void __launch_bounds__(256, 2)
l1_f32(const float* a, const float* b, float* out, int n_a, int n_b, int vectors) {
  __shared__ __align__(16) unsigned of_a[2 * WORDS * ROW_OF_WORDS];
  __shared__ __align__(16) unsigned of_b[2 * WORDS * ROW_OF_WORDS];
  sum_differences((const uint4*)a, (const uint4*)b, out, n_a, n_b, vectors, of_a, of_b);
}
