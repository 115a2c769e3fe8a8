// Sums of |a - b| for every pair of QUERIES rows a and many rows b, each of which is read once, at
// the speed of memory: a warp takes POINTS of them at a time, and 16 bytes of each in every lane.
//
// What the lanes have added up comes together in steps: at each a lane gives away half of its sums
// for its half of another lane's, so that 32 sums take 31 exchanges instead of 160.
//
// -DQUERIES= 1, 2, 4 or 8. Words are added up as in l1.cu, but for the order.

#include "l1.cuh"

#ifndef QUERIES
#define QUERIES 8
#endif
#define SUMS (QUERIES < 4 ? QUERIES * 8 : 32)  // of a lane
#define POINTS (SUMS / QUERIES)

// Lanes that differ in BIT share their sums, HALF for each; then these again, down to one a lane.
template <int HALF, int BIT, class Sum>
static __device__ __forceinline__ void come_together(Sum* sums, int lane) {
  const bool upper = lane & BIT;
#pragma unroll
  for (int s = 0; s < HALF; s++) {
    const Sum given = upper ? sums[s] : sums[s + HALF], kept = upper ? sums[s + HALF] : sums[s];
    sums[s] = kept + __shfl_xor_sync(FULL_WARP, given, BIT);
  }
  if constexpr (HALF > 1) come_together<HALF / 2, BIT / 2>(sums, lane);
}

// a (n_a, 16 vectors), b (n_b, 16 vectors), rows of whole 16 bytes; out (n_a, n_b). Neighbouring
// blocks take the same rows b and others of a, `groups` times QUERIES.
template <class Sum>
static __device__ __forceinline__ void sum_differences(const uint4* a, const uint4* b, Sum* out,
                                                       int n_a, int n_b, int vectors,
                                                       unsigned groups) {
  const int lane = lane_of(threadIdx.x);
  const unsigned warp = blockIdx.x / groups * (blockDim.x / 32) + threadIdx.x / 32;
  const int first_a = (int)(blockIdx.x % groups) * QUERIES, more_a = n_a - 1 - first_a;
  if (warp > (unsigned)(n_b - 1) / POINTS) return;
  const int first_b = (int)warp * POINTS, more_b = n_b - 1 - first_b;
  a += (size_t)first_a * vectors;
  b += (size_t)first_b * vectors;
  Sum sums[SUMS];
#pragma unroll
  for (int s = 0; s < SUMS; s++) sums[s] = 0;
#pragma unroll 1
  for (int v = lane; v < vectors; v += 32) {
    uint4 theirs[POINTS];  // rows past the end stand for the last one
#pragma unroll
    for (int p = 0; p < POINTS; p++) theirs[p] = b[min(p, more_b) * vectors + v];
#pragma unroll
    for (int q = 0; q < QUERIES; q++) {
      const uint4 ours = a[min(q, more_a) * vectors + v];
#pragma unroll
      for (int p = 0; p < POINTS; p++) {
        Sum sum = sums[q * POINTS + p];
        sum = with_difference(sum, ours.x, theirs[p].x);
        sum = with_difference(sum, ours.y, theirs[p].y);
        sum = with_difference(sum, ours.z, theirs[p].z);
        sums[q * POINTS + p] = with_difference(sum, ours.w, theirs[p].w);
      }
    }
  }
  come_together<SUMS / 2, 16>(sums, lane);
#pragma unroll
  for (int bit = 16 / SUMS; bit > 0; bit /= 2) sums[0] += __shfl_xor_sync(FULL_WARP, sums[0], bit);
  const int own = lane / (32 / SUMS), q = own / POINTS, p = own % POINTS;
  if (lane % (32 / SUMS) == 0 && q <= more_a && p <= more_b)
    out[(size_t)(first_a + q) * n_b + first_b + p] = sums[0];
}

extern "C" __global__ void __launch_bounds__(256, 2)
l1_few_u8(const unsigned char* a, const unsigned char* b, int* out, int n_a, int n_b, int vectors,
          unsigned groups) {
  sum_differences((const uint4*)a, (const uint4*)b, out, n_a, n_b, vectors, groups);
}
extern "C" __global__ void __launch_bounds__(256, 2)
l1_few_f32(const float* a, const float* b, float* out, int n_a, int n_b, int vectors,
           unsigned groups) {
  sum_differences((const uint4*)a, (const uint4*)b, out, n_a, n_b, vectors, groups);
}
