// Many steps of a linear classifier in one launch, plain or with momentum: see `linear_descent` in
// xpcls_backends/_linear.py.
//
// Each block has FEATURES features, and their weights stay in its shared memory from step to step.
// A step goes
//
//     partial scores of all rows, by the block's features      all blocks wait for each other
//     scores, each block adding up some of them in order       all blocks wait for each other
//     losses and gradients of the scores, by every block for itself, and the step of its weights
//
// Sums have one order whatever the card, so that equal numbers of blocks give equal bits.
//
// -DCLASSES=, -DFEATURES= ; -DPIXEL= the type of the rows.

#include "losses.cuh"

#ifndef FEATURES
#define FEATURES 24
#endif
#ifndef PIXEL
#define PIXEL float
#endif
#define THREADS_A_BLOCK 256  // and the most rows of a mini-batch, each of which has a thread
#define WARPS_A_BLOCK (THREADS_A_BLOCK / 32)
#define ROW (FEATURES + 1)    // of shared memory, so that rows begin in different banks
#define SCORES (CLASSES + 1)

// The sum over the block's threads, in one order; all threads must call it, and all get it.
// `shared` has WARPS_A_BLOCK entries that nobody else uses until the next __syncthreads.
static __device__ float sum_over_block(float x, float* shared) {
  for (int bit = 16; bit > 0; bit /= 2) x += __shfl_xor_sync(FULL_WARP, x, bit);
  if (lane_of(threadIdx.x) == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  float total = 0.0f;
  for (int w = 0; w < WARPS_A_BLOCK; w++) total += shared[w];
  return total;
}

// x (N, length), classes (N,), factors (N,) or null; order (n,) rows of x; a step takes `batch` of
// them, at most THREADS_A_BLOCK. weights, velocity (length, CLASSES), bias, bias_velocity
// (CLASSES,): changed. partial (blocks, batch, CLASSES), scores (batch, CLASSES): scratch.
// losses (steps,): the mean loss before each step; squares (steps, blocks): its sums of W^2.
// ceil(length / FEATURES) blocks of THREADS_A_BLOCK, all on the card at once.
extern "C" __global__ void __launch_bounds__(THREADS_A_BLOCK, 1)
descend(const PIXEL* x, const int64* classes, const float* factors, const int64* order, int n,
        int length, int batch, int kind, float delta, float constant, float l2, float rate,
        float decay, float* weights, float* velocity, float* bias, float* bias_velocity,
        float* partial, float* scores, float* losses, float* squares, unsigned* counter) {
  DYNAMIC_SHARED(float, memory);
  float* rows = memory;                                // batch x ROW
  float* of_scores = rows + batch * ROW;               // batch x SCORES
  float* w = of_scores + batch * SCORES;               // ROW x CLASSES; the last row: the bias
  float* v = w + ROW * CLASSES;
  float* sums = v + ROW * CLASSES;                     // 2 x WARPS_A_BLOCK
  const int thread = (int)threadIdx.x, block = (int)blockIdx.x, blocks = (int)gridDim.x;
  const int first = block * FEATURES, count = min(FEATURES, length - first);
  for (int e = thread; e < ROW * CLASSES; e += THREADS_A_BLOCK) {
    const int f = e / CLASSES, c = e % CLASSES;
    const size_t at = (size_t)(first + f) * CLASSES + c;
    w[e] = f == FEATURES ? bias[c] : f < count ? weights[at] : 0.0f;
    v[e] = f == FEATURES ? bias_velocity[c] : f < count ? velocity[at] : 0.0f;
  }
  const int steps = (n + batch - 1) / batch;
  for (int step = 0; step < steps; step++) {
    const int64* chosen = order + (size_t)step * batch;
    const int here = min(batch, n - step * batch);
    // Eight numbers at a time are on their way at once.
    for (int base = thread; base < here * FEATURES; base += 8 * THREADS_A_BLOCK) {
      float some[8];
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const int e = base + j * THREADS_A_BLOCK, i = e / FEATURES, f = e % FEATURES;
        const bool there = e < here * FEATURES && f < count;
        some[j] = there ? (float)x[(size_t)chosen[i] * length + first + f] : 0.0f;
      }
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const int e = base + j * THREADS_A_BLOCK;
        if (e < here * FEATURES) rows[e / FEATURES * ROW + e % FEATURES] = some[j];
      }
    }
    __syncthreads();
    if (thread < here) {
      float own[CLASSES];
#pragma unroll
      for (int c = 0; c < CLASSES; c++) own[c] = 0.0f;
      for (int f = 0; f < FEATURES; f++) {
        const float pixel = rows[thread * ROW + f];
#pragma unroll
        for (int c = 0; c < CLASSES; c++) own[c] = fmaf(pixel, w[f * CLASSES + c], own[c]);
      }
#pragma unroll
      for (int c = 0; c < CLASSES; c++)
        partial[((size_t)block * batch + thread) * CLASSES + c] = own[c];
    }
    float square = 0.0f;
    for (int e = thread; e < FEATURES * CLASSES; e += THREADS_A_BLOCK) square += w[e] * w[e];
    square = sum_over_block(square, sums);
    if (thread == 0) squares[(size_t)step * blocks + block] = square;
    GRID_BARRIER(counter);

    // Eight lanes a score. All threads go round equally often, so the shuffles have full warps.
    for (int base = block * (THREADS_A_BLOCK / 8); base < here * CLASSES;
         base += blocks * (THREADS_A_BLOCK / 8)) {
      const int e = base + thread / 8, lane = thread % 8;
      float score = 0.0f;
      if (e < here * CLASSES)
        for (int b = lane; b < blocks; b += 8) score += partial[(size_t)b * batch * CLASSES + e];
      for (int bit = 4; bit > 0; bit /= 2) score += __shfl_xor_sync(FULL_WARP, score, bit);
      if (lane == 0 && e < here * CLASSES) scores[e] = score;
    }
    GRID_BARRIER(counter);

    float loss = 0.0f;
    if (thread < here) {
      float own[CLASSES];
#pragma unroll
      for (int c = 0; c < CLASSES; c++)
        own[c] = scores[thread * CLASSES + c] + constant * w[FEATURES * CLASSES + c];
      const int64 row = chosen[thread];
      const float factor = (factors ? factors[row] : 1.0f) / (float)here;
      loss = loss_of_row(kind, delta, own, (int)classes[row], factor);
#pragma unroll
      for (int c = 0; c < CLASSES; c++) of_scores[thread * SCORES + c] = own[c];
      rows[thread * ROW + FEATURES] = constant;  // what the weight of the bias is multiplied by
    }
    loss = sum_over_block(loss, sums + WARPS_A_BLOCK);
    if (block == 0 && thread == 0) losses[step] = loss;
    for (int e = thread; e < ROW * CLASSES; e += THREADS_A_BLOCK) {
      const int f = e / CLASSES, c = e % CLASSES;
      float gradient = f == FEATURES ? 0.0f : 2.0f * l2 * w[e];
      for (int i = 0; i < here; i++)
        gradient = fmaf(rows[i * ROW + f], of_scores[i * SCORES + c], gradient);
      v[e] = decay * v[e] + gradient;
      w[e] -= rate * v[e];
    }
    __syncthreads();
  }
  for (int e = thread; e < ROW * CLASSES; e += THREADS_A_BLOCK) {
    const int f = e / CLASSES, c = e % CLASSES;
    const size_t at = (size_t)(first + f) * CLASSES + c;
    if (f < count) {
      weights[at] = w[e];
      velocity[at] = v[e];
    } else if (f == FEATURES && block == 0) {
      bias[c] = w[e];
      bias_velocity[c] = v[e];
    }
  }
}
