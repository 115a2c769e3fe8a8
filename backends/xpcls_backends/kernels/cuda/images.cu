// What convolution and pooling do beside products, for images (n, height, width, channels): one
// thread for each number that comes out, of which there are fewer than 2^31. -DNUMBER= float or
// double.
//
// LAYER is what the kernels of a layer are given: the sizes of the images, of a window or filter,
// of its strides and of the padding, and how many windows there are down and across.

#ifndef NUMBER
#define NUMBER float
#endif

#define LAYER                                                                                  \
  int height, int width, int channels, int kh, int kw, int down, int across, int top, int left, \
      int rows, int columns
#define GIVEN {height, width, channels, kh, kw, down, across, top, left, rows, columns}

struct Layer {
  int height, width, channels, kh, kw, down, across, top, left, rows, columns;
};

struct Place {  // of a number in images, or among windows
  int image, row, column, channel;
};
static __device__ __forceinline__ Place place_in(unsigned i, int rows, int columns, int channels) {
  Place p;
  p.channel = (int)(i % (unsigned)channels);
  i /= channels;
  p.column = (int)(i % columns);
  i /= columns;
  p.row = (int)(i % rows);
  p.image = (int)(i / rows);
  return p;
}
static __device__ __forceinline__ int64 pixel_of(const Layer& how, int image, int row, int column) {
  return (((int64)image * how.height + row) * how.width + column) * how.channels;
}
static __device__ __forceinline__ int64 window_of(const Layer& how, int image, int row, int column) {
  return ((int64)image * how.rows + row) * how.columns + column;
}
static __device__ __forceinline__ unsigned this_thread() {
  return blockIdx.x * blockDim.x + threadIdx.x;
}

// The windows that a pixel stands in, along one axis: from `first` to `last`.
static __device__ __forceinline__ void windows_with(int pixel, int size, int stride, int padding,
                                                    int count, int* first, int* last) {
  const int from = pixel + padding - size + 1;
  *first = from <= 0 ? 0 : (from + stride - 1) / stride;
  *last = min(count - 1, (pixel + padding) / stride);
}

// laid (n, rows, columns, kh, kw, channels): the pixels under each filter, 0 outside of the images.
extern "C" __global__ void __launch_bounds__(256, 1)
lay_out(const NUMBER* x, NUMBER* laid, LAYER, unsigned total) {
  const unsigned i = this_thread();
  if (i >= total) return;
  const Layer how = GIVEN;
  const int channel = (int)(i % channels);
  unsigned rest = i / channels;
  const int v = (int)(rest % kw);
  rest /= kw;
  const int u = (int)(rest % kh);
  const Place window = place_in(rest / kh, rows, columns, 1);
  const int row = window.row * down + u - top;
  const int column = window.column * across + v - left;
  const bool inside = row >= 0 && row < height && column >= 0 && column < width;
  laid[i] = inside ? x[pixel_of(how, window.image, row, column) + channel] : (NUMBER)0;
}

// dx (n, height, width, channels): each pixel gets the sum of its places in `laid`.
extern "C" __global__ void __launch_bounds__(256, 1)
add_up(const NUMBER* laid, NUMBER* dx, LAYER, unsigned total) {
  const unsigned i = this_thread();
  if (i >= total) return;
  const Layer how = GIVEN;
  const Place p = place_in(i, height, width, channels);
  int first_row, last_row, first, last;
  windows_with(p.row, kh, down, top, rows, &first_row, &last_row);
  windows_with(p.column, kw, across, left, columns, &first, &last);
  NUMBER sum = 0;
  for (int row = last_row; row >= first_row; row--)  // in the order of the places in a filter
    for (int column = last; column >= first; column--) {
      const int u = p.row + top - row * down;
      const int v = p.column + left - column * across;
      const int64 place = (window_of(how, p.image, row, column) * kh + u) * kw + v;
      sum += laid[place * channels + p.channel];
    }
  dx[i] = sum;
}

// z (n, rows, columns, channels): the largest entry of each window, NaN where there is one.
extern "C" __global__ void __launch_bounds__(256, 1)
largest(const NUMBER* x, NUMBER* z, LAYER, unsigned total) {
  const unsigned i = this_thread();
  if (i >= total) return;
  const Layer how = GIVEN;
  const Place p = place_in(i, rows, columns, channels);
  const int first_row = p.row * down, first = p.column * across;
  NUMBER best = x[pixel_of(how, p.image, first_row, first) + p.channel];
  for (int u = 0; u < kh; u++)
    for (int v = 0; v < kw; v++) {
      const NUMBER entry = x[pixel_of(how, p.image, first_row + u, first + v) + p.channel];
      if (entry > best || entry != entry) best = entry;
    }
  z[i] = best;
}

// Which place of a window gets its gradient: the first that equals z, the last where none does.
static __device__ int winner(const NUMBER* x, NUMBER z, const Layer& how, const Place& p, int row,
                             int column) {
  const int places = how.kh * how.kw;
  for (int k = 0; k < places; k++) {
    const int u = row * how.down + k / how.kw, v = column * how.across + k % how.kw;
    if (x[pixel_of(how, p.image, u, v) + p.channel] == z) return k;
  }
  return places - 1;
}

// dx (n, height, width, channels) from z of `largest` and g, the gradient of z.
extern "C" __global__ void __launch_bounds__(256, 1)
largest_backward(const NUMBER* x, const NUMBER* z, const NUMBER* g, NUMBER* dx, LAYER,
                 unsigned total) {
  const unsigned i = this_thread();
  if (i >= total) return;
  const Layer how = GIVEN;
  const Place p = place_in(i, height, width, channels);
  int first_row, last_row, first, last;
  windows_with(p.row, kh, down, 0, rows, &first_row, &last_row);
  windows_with(p.column, kw, across, 0, columns, &first, &last);
  NUMBER sum = 0;
  for (int row = last_row; row >= first_row; row--)
    for (int column = last; column >= first; column--) {
      const int64 at = window_of(how, p.image, row, column) * channels + p.channel;
      const int place = (p.row - row * down) * kw + p.column - column * across;
      if (winner(x, z[at], how, p, row, column) == place) sum += g[at];
    }
  dx[i] = sum;
}

// z = max(x + b, 0), NaN where x + b is; b (channels,).
extern "C" __global__ void __launch_bounds__(256, 1)
rectified(const NUMBER* x, const NUMBER* b, NUMBER* z, int channels, unsigned total) {
  const unsigned i = this_thread();
  if (i >= total) return;
  const NUMBER sum = x[i] + b[i % (unsigned)channels];
  z[i] = sum <= 0 ? (NUMBER)0 : sum;
}
// dx = g where z is positive, else 0.
extern "C" __global__ void __launch_bounds__(256, 1)
rectified_backward(const NUMBER* z, const NUMBER* g, NUMBER* dx, unsigned total) {
  const unsigned i = this_thread();
  if (i < total) dx[i] = z[i] > 0 ? g[i] : (NUMBER)0;
}
