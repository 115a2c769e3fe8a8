// A step of one parameter, of any optimiser that works entry by entry:
//
//     g <- g + pull p                                 the gradient of a penalty
//     v <- decay v + own g                            a mean of gradients, if one is kept
//     s <- decay2 s + own2 g^2                        a mean of squares, if one is kept
//     p <- p - rate (of_gradient g + of_mean v) / (sqrt(s correction) + epsilon)
//
// where nothing divides if no squares are kept. -DNUMBER= float or double.

#ifndef NUMBER
#define NUMBER float
#endif

static __device__ __forceinline__ float root_of(float x) { return sqrtf(x); }
static __device__ __forceinline__ double root_of(double x) { return sqrt(x); }

// p, g, mean, squares (n,), the last two or one of them null; moved, new_mean, new_squares: likewise.
// `moved` may be g.
extern "C" __global__ void __launch_bounds__(256, 1)
moved(const NUMBER* p, const NUMBER* g, const NUMBER* mean, const NUMBER* squares, NUMBER* moved,
      NUMBER* new_mean, NUMBER* new_squares, unsigned n, NUMBER rate, NUMBER pull, NUMBER decay,
      NUMBER own, NUMBER of_gradient, NUMBER of_mean, NUMBER decay2, NUMBER own2,
      NUMBER correction, NUMBER epsilon) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const NUMBER gradient = g[i] + pull * p[i];
  NUMBER step = of_gradient * gradient;
  if (mean) {
    const NUMBER v = decay * mean[i] + own * gradient;
    new_mean[i] = v;
    step += of_mean * v;
  }
  if (squares) {
    const NUMBER s = decay2 * squares[i] + own2 * (gradient * gradient);
    new_squares[i] = s;
    step /= root_of(s * correction) + epsilon;
  }
  moved[i] = p[i] - rate * step;
}
