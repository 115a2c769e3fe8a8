// A loss of every row and its gradient, in one launch: one thread a row.

#include "losses.cuh"

// scores (n, CLASSES), classes (n,), factors (n,) or null for 1 / n; losses (n,), gradient
// (n, CLASSES): both multiplied by the row's factor.
extern "C" __global__ void __launch_bounds__(128, 1)
rows_losses(const float* scores, const int64* classes, const float* factors, float* losses,
            float* gradient, int n, int kind, float delta) {
  const int row = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (row >= n) return;
  float own[CLASSES];
#pragma unroll
  for (int c = 0; c < CLASSES; c++) own[c] = scores[(size_t)row * CLASSES + c];
  const float factor = factors ? factors[row] : 1.0f / (float)n;
  losses[row] = loss_of_row(kind, delta, own, (int)classes[row], factor);
#pragma unroll
  for (int c = 0; c < CLASSES; c++) gradient[(size_t)row * CLASSES + c] = own[c];
}
