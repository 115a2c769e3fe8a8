// Many steps of a linear classifier in one launch, plain or with momentum: see `linear_descent` in
// xpcls_backends/_linear.py.
//
// Each block has FEATURES features, and their weights stay with it from step to step. The bias is the
// weight of one feature more, which is 1 in every row; its weight is scaled by `constant`. A step goes
//
//     partial scores of all rows, by the block's features      all blocks wait for each other
//     scores, each block adding up some of them in order       all blocks wait for each other
//     losses and gradients of the scores, by every block for itself, and the step of its weights
//
// While blocks wait for the first time, the rows of the next step are on their way to registers.
//
// Sums have one order whatever the card, so that equal numbers of blocks give equal bits.
//
// -DCLASSES=, -DFEATURES= a multiple of 8; -DPIXEL= the type of the rows.

#include "losses.cuh"

#ifndef FEATURES
#define FEATURES 24
#endif
#ifndef PIXEL
#define PIXEL float
#endif
#define THREADS_A_BLOCK 256  // and the most rows of a mini-batch, each of which has a thread
#define WARPS_A_BLOCK (THREADS_A_BLOCK / 32)
#define PARTIALS 20  // that a thread reads at once
#define OWN ((FEATURES * CLASSES + THREADS_A_BLOCK - 1) / THREADS_A_BLOCK)  // weights of a thread

// Rows are brought in AT_ONCE at a time, in so many PASSES.
#define AT_ONCE (THREADS_A_BLOCK / FEATURES)
#define PASSES ((THREADS_A_BLOCK + AT_ONCE - 1) / AT_ONCE)

// Shared memory is read 16 bytes at a time, eight lanes at once. So that two neighbouring vectors of
// four rows of pixels lie in different banks, vector v of row i stands in place of v ^ TURN(i); and so
// that the same vector of eight rows does, rows of one number a class are STRIDE numbers long.
#define TURN(i) (FEATURES % 16 ? 0 : FEATURES % 32 ? (i) & 2 : 2 * (i) & 6)
#define STRIDE ((CLASSES + 3) / 8 * 8 + 4)

// Gradients of the weights: a thread has a tile of 4 features and 4 classes, and of the rows every
// SPLITS-th.
#define VECTORS (FEATURES / 4)
#define QUADS ((CLASSES + 3) / 4)
#define TILES (VECTORS * QUADS)
#define SPLITS (THREADS_A_BLOCK / TILES < 16 ? THREADS_A_BLOCK / TILES : 16)

struct __align__(16) Four {
  float at[4];
};
static __device__ __forceinline__ Four four_at(const float* x) { return *(const Four*)x; }
static __device__ __forceinline__ Four pixels_at(const float* rows, int i, int v) {
  return four_at(rows + i * FEATURES + 4 * (v ^ TURN(i)));
}

// Of rows at these places in x those numbers that this thread brings in: its feature of every
// AT_ONCE-th row.
static __device__ __forceinline__ void fetch(const PIXEL* x, const int* places, int rows,
                                             int length, int first, PIXEL* held) {
  const int row = (int)threadIdx.x / FEATURES, f = first + (int)threadIdx.x % FEATURES;
  const bool pixels = row < AT_ONCE && f < length;
#pragma unroll
  for (int j = 0; j < PASSES; j++) {
    held[j] = (PIXEL)(f == length);
    if (pixels && row + j * AT_ONCE < rows)
      held[j] = x[(size_t)places[row + j * AT_ONCE] * length + f];
  }
}

// Scores of all rows by FEATURES features, to partial (CLASSES, batch). Neighbouring lanes have the
// same two rows, every other vector of them each, and then exchange a row each.
static __device__ __forceinline__ void score(const float* rows, const float* w, float* partial,
                                             int here, int batch) {
  const int pairs = (here + 1) / 2, pair = min((int)threadIdx.x / 2, pairs - 1);
  if ((int)threadIdx.x / 32 * 16 >= pairs) return;  // the whole warp
  const int half = (int)threadIdx.x % 2, other = min(pair + pairs, here - 1);
  float own[2][CLASSES];
#pragma unroll
  for (int c = 0; c < CLASSES; c++) own[0][c] = own[1][c] = 0.0f;
#pragma unroll 1
  for (int k = 0; k < VECTORS; k += 2) {
    const Four one = pixels_at(rows, pair, k + half);
    const Four two = pixels_at(rows, other, k + half);
#pragma unroll
    for (int f = 0; f < 4; f++)
#pragma unroll
      for (int q = 0; q < QUADS; q++) {
        const Four some = four_at(w + (4 * (k + half) + f) * STRIDE + 4 * q);
#pragma unroll
        for (int c = 4 * q; c < min(4 * q + 4, CLASSES); c++) {
          own[0][c] = fmaf(one.at[f], some.at[c % 4], own[0][c]);
          own[1][c] = fmaf(two.at[f], some.at[c % 4], own[1][c]);
        }
      }
  }
#pragma unroll
  for (int c = 0; c < CLASSES; c++) {
    const float kept = half ? own[1][c] : own[0][c], given = half ? own[0][c] : own[1][c];
    own[0][c] = kept + __shfl_xor_sync(FULL_WARP, given, 1);
  }
  const int row = half ? pair + pairs : pair;
  if ((int)threadIdx.x / 2 < pairs && row < here)
#pragma unroll
    for (int c = 0; c < CLASSES; c++) partial[c * batch + row] = own[0][c];
}

// Some of the scores, each of all blocks' partial ones, of which each warp adds up every eighth;
// `shared` has a number for each thread.
static __device__ __forceinline__ void add_up(const float* partial, float* scores, int total,
                                              float* shared) {
  const int block = (int)blockIdx.x, blocks = (int)gridDim.x;
  const int lane = lane_of(threadIdx.x), warp = (int)threadIdx.x / 32;
  for (int base = block * 32; base < total; base += blocks * 32) {
    if (base != block * 32) __syncthreads();
    const int e = min(base + lane, total - 1);
    float sum = 0.0f;
    for (int start = warp; start < blocks; start += WARPS_A_BLOCK * PARTIALS) {
      float some[PARTIALS];
#pragma unroll
      for (int j = 0; j < PARTIALS; j++) {
        const int b = start + j * WARPS_A_BLOCK;
        some[j] = b < blocks ? partial[b * total + e] : 0.0f;
      }
#pragma unroll
      for (int j = 0; j < PARTIALS; j++) sum += some[j];
    }
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && base + lane < total) {
      sum = 0.0f;
#pragma unroll
      for (int w = 0; w < WARPS_A_BLOCK; w++) sum += shared[w * 32 + lane];
      scores[e] = sum;
    }
  }
}

// x (N, length), classes (N,), factors (N,) or null; order (n,) rows of x; a step takes `batch` of
// them, at most THREADS_A_BLOCK. weights, velocity (length, CLASSES), bias, bias_velocity
// (CLASSES,): changed. partial (blocks, CLASSES, batch), scores (CLASSES, batch): scratch.
// objective (steps, blocks * WARPS_A_BLOCK + batch): what the objective before each step is the sum of.
// ceil((length + 1) / FEATURES) blocks of THREADS_A_BLOCK, all on the card at once.
extern "C" __global__ void __launch_bounds__(THREADS_A_BLOCK, 2)
descend(const PIXEL* x, const int64* classes, const float* factors, const int64* order, int n,
        int length, int batch, int kind, float delta, float constant, float l2, float rate,
        float decay, float* weights, float* velocity, float* bias, float* bias_velocity,
        float* partial, float* scores, float* objective, unsigned* counter) {
  DYNAMIC_SHARED(float, memory);
  float* rows = memory;   // batch x FEATURES; then SPLITS x FEATURES x STRIDE
  float* parts = memory;
  float* w = rows + max(batch * FEATURES, SPLITS * FEATURES * STRIDE);  // FEATURES x STRIDE
  float* gradients = w + FEATURES * STRIDE;                        // batch x STRIDE
  float* sums = gradients;                                         // before: THREADS_A_BLOCK
  int* places = (int*)gradients;                                   // before: batch
  const int thread = (int)threadIdx.x, block = (int)blockIdx.x, blocks = (int)gridDim.x;
  const int first = block * FEATURES, total = CLASSES * batch;
  const int steps = (n + batch - 1) / batch, width = blocks * WARPS_A_BLOCK + batch;

  float own[OWN], own_velocity[OWN];
#pragma unroll
  for (int k = 0; k < OWN; k++) {
    const int e = thread + k * THREADS_A_BLOCK, f = first + e / CLASSES, c = e % CLASSES;
    own[k] = own_velocity[k] = 0.0f;
    if (e >= FEATURES * CLASSES) continue;
    if (f < length) {
      own[k] = weights[(size_t)f * CLASSES + c];
      own_velocity[k] = velocity[(size_t)f * CLASSES + c];
    } else if (f == length) {
      own[k] = bias[c];
      own_velocity[k] = bias_velocity[c];
    }
    w[e / CLASSES * STRIDE + c] = f == length ? constant * own[k] : own[k];
  }

  // Of the next step: numbers of its rows, and of the row of this thread its class and factor; of the
  // step after that the place of that row.
  PIXEL held[PASSES];
  int place = thread < batch ? (int)order[thread] : 0;
  int next_class = thread < batch ? (int)classes[place] : 0;
  float next_factor = thread < batch && factors ? factors[place] : 1.0f;
  if (thread < batch) places[thread] = place;
  __syncthreads();
  fetch(x, places, batch, length, first, held);
  place = thread < n - batch ? (int)order[batch + thread] : 0;
  __syncthreads();

  for (int step = 0; step < steps; step++) {
    const int here = min(batch, n - step * batch), next = min(batch, n - (step + 1) * batch);
    const int own_class = next_class;
    const float factor = next_factor / (float)here;
    const int in_pass = thread / FEATURES;
#pragma unroll
    for (int j = 0; j < PASSES; j++)
      if (in_pass < AT_ONCE && in_pass + j * AT_ONCE < here)
        rows[(thread ^ 4 * TURN(in_pass)) + j * AT_ONCE * FEATURES] = (float)held[j];
    if (thread < next) places[thread] = place;
    __syncthreads();
    score(rows, w, partial + (size_t)block * total, here, batch);
    GRID_ARRIVE(counter);

    fetch(x, places, next, length, first, held);
    if (thread < next) {
      next_class = (int)classes[place];
      if (factors) next_factor = factors[place];
    }
    if (thread < n - (step + 2) * batch) place = (int)order[(step + 2) * batch + thread];
    float square = 0.0f;
#pragma unroll
    for (int k = 0; k < OWN; k++) {
      const int f = first + (thread + k * THREADS_A_BLOCK) / CLASSES;
      if (f < length) square += own[k] * own[k];
    }
    for (int bit = 16; bit > 0; bit /= 2) square += __shfl_xor_sync(FULL_WARP, square, bit);
    float* terms = objective + (size_t)step * width;
    if (lane_of(thread) == 0) terms[block * WARPS_A_BLOCK + thread / 32] = l2 * square;
    GRID_WAIT(counter, (2 * step + 1) * blocks);

    add_up(partial, scores, total, sums);
    GRID_ARRIVE(counter);
    GRID_WAIT(counter, (2 * step + 2) * blocks);

    if (thread < here) {
      __align__(16) float of_row[4 * QUADS];
#pragma unroll
      for (int c = 0; c < 4 * QUADS; c++)
        of_row[c] = c < CLASSES ? scores[c * batch + thread] : 0.0f;
      const float loss = loss_of_row(kind, delta, of_row, own_class, factor);
#pragma unroll
      for (int q = 0; q < QUADS; q++)
        *(Four*)(gradients + thread * STRIDE + 4 * q) = four_at(of_row + 4 * q);
      if (block == 0) terms[blocks * WARPS_A_BLOCK + thread] = loss;
    } else if (block == 0 && thread < batch) {
      terms[blocks * WARPS_A_BLOCK + thread] = 0.0f;
    }
    __syncthreads();
    const int tile = thread % TILES, split = thread / TILES, v = tile / QUADS, q = tile % QUADS;
    Four slopes[4] = {};
    if (split < SPLITS)
#pragma unroll 4
      for (int i = split; i < here; i += SPLITS) {
        const Four pixels = pixels_at(rows, i, v);
        const Four of_row = four_at(gradients + i * STRIDE + 4 * q);
#pragma unroll
        for (int f = 0; f < 4; f++)
#pragma unroll
          for (int c = 0; c < 4; c++)
            slopes[f].at[c] = fmaf(pixels.at[f], of_row.at[c], slopes[f].at[c]);
      }
    __syncthreads();
    if (split < SPLITS)
#pragma unroll
      for (int f = 0; f < 4; f++)
        *(Four*)(parts + (split * FEATURES + 4 * v + f) * STRIDE + 4 * q) = slopes[f];
    __syncthreads();
#pragma unroll
    for (int k = 0; k < OWN; k++) {
      const int e = thread + k * THREADS_A_BLOCK, f = e / CLASSES, c = e % CLASSES;
      if (e >= FEATURES * CLASSES) continue;
      float gradient = 0.0f;
#pragma unroll
      for (int s = 0; s < SPLITS; s++) gradient += parts[(s * FEATURES + f) * STRIDE + c];
      const bool of_bias = first + f == length;
      gradient = of_bias ? constant * gradient : fmaf(2.0f * l2, own[k], gradient);
      own_velocity[k] = decay * own_velocity[k] + gradient;
      own[k] -= rate * own_velocity[k];
      w[f * STRIDE + c] = of_bias ? constant * own[k] : own[k];
    }
    __syncthreads();
  }
#pragma unroll
  for (int k = 0; k < OWN; k++) {
    const int e = thread + k * THREADS_A_BLOCK, f = first + e / CLASSES, c = e % CLASSES;
    if (e >= FEATURES * CLASSES) continue;
    if (f < length) {
      weights[(size_t)f * CLASSES + c] = own[k];
      velocity[(size_t)f * CLASSES + c] = own_velocity[k];
    } else if (f == length) {
      bias[c] = own[k];
      bias_velocity[c] = own_velocity[k];
    }
  }
}
