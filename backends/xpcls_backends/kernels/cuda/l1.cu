// Sums of |a - b| for every pair of rows: a tile of 128 x 128 pairs in a block of 256 threads, 8 x 8
// in each thread, while the next part of the rows is on its way. For few rows a: l1_few.cu.
//
// Bytes go four at a time through VABSDIFF4, which adds the four differences to an integer sum:
// exact. Floats take two additions a pair and feature, whose order is that of the features.

#include "l1.cuh"

#define TILE 128
#define BAND 16               // tiles of a that take turns before the next tile of b
#define WORDS 8               // of each row at a time; a word is one float or four bytes
#define ROW_OF_WORDS (TILE + 4)  // so that threads that write do not meet in one bank

// The row or column of a tile that a thread's i-th sum belongs to: four here, four 64 further on.
static __device__ __forceinline__ int place_of(int i, int thread) {
  return (i < 4 ? 0 : 60) + thread * 4 + i;
}

// Where the tile of this block begins. Blocks that run at the same time should read few rows: the
// tiles of a band of a go through b together.
struct Corner {
  int a, b;
};
static __device__ __forceinline__ Corner corner_of(unsigned block, int n_a, int n_b) {
  const unsigned down = (n_a - 1) / TILE + 1, across = (n_b - 1) / TILE + 1;
  const unsigned band = block / (BAND * across), within = block % (BAND * across);
  const unsigned height = min(down - band * BAND, (unsigned)BAND);
  return {(int)((band * BAND + within % height) * TILE), (int)(within / height * TILE)};
}

// a (n_a, 16 vectors), b (n_b, 16 vectors), rows of whole 16 bytes; out (n_a, n_b).
template <class Sum>
static __device__ void sum_differences(const uint4* a, const uint4* b, Sum* out, int n_a, int n_b,
                                       int vectors, unsigned* of_a, unsigned* of_b) {
  const int thread = (int)threadIdx.x, x = thread % 16, y = thread / 16;
  const Corner corner = corner_of(blockIdx.x, n_a, n_b);
  const int first_a = corner.a, first_b = corner.b;
  // Two threads bring in what is next of one row; rows past the end stand for the last one.
  const int row = thread / 2, half = thread % 2;
  const uint4* from_a = a + (size_t)(first_a + min(row, n_a - 1 - first_a)) * vectors;
  const uint4* from_b = b + (size_t)(first_b + min(row, n_b - 1 - first_b)) * vectors;
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
    if (place_of(i, y) >= n_a - first_a) continue;
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const int at_b = first_b + place_of(j, x);
      if (place_of(j, x) < n_b - first_b) out[(size_t)at_a * n_b + at_b] = sums[i][j];
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
