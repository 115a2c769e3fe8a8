// What convolution and pooling do beside products, for images (n, height, width, channels): one
// thread for each LANES channels of what comes out, of which there are fewer than 2^31.
//
// LAYER is what the kernels of a layer are given: the sizes of the images, of a window or filter,
// of its strides and of the padding, and how many windows there are down and across. Here and below
// channels are counted LANES at a time.
//
// -DNUMBER= float or double; -DLANES= 1, or 4 where every pixel has a multiple of 4 channels.

#ifndef NUMBER
#define NUMBER float
#endif
#ifndef LANES
#define LANES 1
#endif

struct __align__(LANES % 4 ? sizeof(NUMBER) : 16) Some {
  NUMBER at[LANES];
};

#define LAYER                                                                                  \
  int height, int width, int channels, int kh, int kw, int down, int across, int top, int left, \
      int rows, int columns
// What divides by the sizes of what comes out.
#define SPLIT uint64 by_channels, uint64 by_columns, uint64 by_rows

// n / d for n below 2^31, of the divider of d, images.py: `divider`. A division is 20 instructions.
static __device__ __forceinline__ int divided(int n, uint64 by) {
  return (int)((unsigned)((uint64)(2u * (unsigned)n) * (unsigned)(by >> 32) >> 32) >>
               (unsigned)(by & 31));
}

struct Place {  // of a number in images, or among windows
  int image, row, column, channel;
};
static __device__ __forceinline__ Place place_in(int i, int rows, int columns, int channels,
                                                 uint64 by_channels, uint64 by_columns,
                                                 uint64 by_rows) {
  const int pixel = divided(i, by_channels), line = divided(pixel, by_columns);
  const int image = divided(line, by_rows);
  return {image, line - image * rows, pixel - line * columns, i - pixel * channels};
}
static __device__ __forceinline__ int this_thread() {
  return (int)(blockIdx.x * blockDim.x + threadIdx.x);
}

// The windows that a pixel stands in, along one axis: from `first` to `last`.
static __device__ __forceinline__ void windows_with(int pixel, int size, int stride, int padding,
                                                    int count, uint64 by_stride, int* first,
                                                    int* last) {
  const int from = pixel + padding - size + 1;
  *first = from <= 0 ? 0 : divided(from + stride - 1, by_stride);
  *last = min(count - 1, divided(pixel + padding, by_stride));
}

// laid (n, rows, columns, kh, kw, channels): the pixels under each filter, 0 outside of the images.
// The kw pixels of a row lie as they lie in the image.
extern "C" __global__ void __launch_bounds__(256, 1)
lay_out(const NUMBER* x, NUMBER* laid, LAYER, uint64 by_run, uint64 by_kh, uint64 by_columns,
        uint64 by_rows, int total) {
  const int i = this_thread();
  if (i >= total) return;
  const int run = divided(i, by_run), k = i - run * kw * channels;
  const int window = divided(run, by_kh), u = run - window * kh;
  const int line = divided(window, by_columns), image = divided(line, by_rows);
  const int row = (line - image * rows) * down + u - top;
  const int column = (window - line * columns) * across - left;
  const bool inside = row >= 0 && row < height && k >= -column * channels &&
                      k < (width - column) * channels;
  const int64 from = (((int64)image * height + row) * width + column) * channels + k;
  ((Some*)laid)[i] = inside ? ((const Some*)x)[from] : Some();
}

// dx (n, height, width, channels): each pixel gets the sum of its places in `laid`.
extern "C" __global__ void __launch_bounds__(256, 1)
add_up(const NUMBER* laid, NUMBER* dx, LAYER, SPLIT, uint64 by_down, uint64 by_across, int total) {
  const int i = this_thread();
  if (i >= total) return;
  const Place p = place_in(i, height, width, channels, by_channels, by_columns, by_rows);
  int first_row, last_row, first, last;
  windows_with(p.row, kh, down, top, rows, by_down, &first_row, &last_row);
  windows_with(p.column, kw, across, left, columns, by_across, &first, &last);
  const int u = p.row + top - last_row * down, v = p.column + left - last * across;
  const int64 window = ((int64)p.image * rows + last_row) * columns + last;
  const Some* line = (const Some*)laid + ((window * kh + u) * kw + v) * channels + p.channel;
  // The window before begins so much earlier, and the pixel stands so much later in it.
  const int64 one_up = (int64)(down - columns * kh) * kw * channels;
  const int one_left = (across - kh * kw) * channels;
  Some sum = {};
  for (int row = last_row; row >= first_row; row--) {  // in the order of the places in a filter
    const Some* place = line;
    for (int column = last; column >= first; column--) {
      const Some one = *place;
#pragma unroll
      for (int l = 0; l < LANES; l++) sum.at[l] += one.at[l];
      place += one_left;
    }
    line += one_up;
  }
  ((Some*)dx)[i] = sum;
}

// z (n, rows, columns, channels): the largest entry of each window, NaN where there is one.
extern "C" __global__ void __launch_bounds__(256, 1)
largest(const NUMBER* x, NUMBER* z, LAYER, SPLIT, int total) {
  const int i = this_thread();
  if (i >= total) return;
  const Place p = place_in(i, rows, columns, channels, by_channels, by_columns, by_rows);
  const int64 corner = ((int64)p.image * height + p.row * down) * width + p.column * across;
  const Some* line = (const Some*)x + corner * channels + p.channel;
  Some best = *line;
  for (int u = 0; u < kh; u++) {
    const Some* pixel = line;
    for (int v = 0; v < kw; v++) {
      const Some entry = *pixel;
#pragma unroll
      for (int l = 0; l < LANES; l++)
        if (entry.at[l] > best.at[l] || entry.at[l] != entry.at[l]) best.at[l] = entry.at[l];
      pixel += channels;
    }
    line += width * channels;
  }
  ((Some*)z)[i] = best;
}

// dx (n, height, width, channels) from z of `largest` and g, the gradient of z: of the places of a
// window the first that equals z gets the gradient, the last where none does.
extern "C" __global__ void __launch_bounds__(256, 1)
largest_backward(const NUMBER* x, const NUMBER* z, const NUMBER* g, NUMBER* dx, LAYER, SPLIT,
                 uint64 by_down, uint64 by_across, int total) {
  const int i = this_thread();
  if (i >= total) return;
  const Place p = place_in(i, height, width, channels, by_channels, by_columns, by_rows);
  int first_row, last_row, first, last;
  windows_with(p.row, kh, down, 0, rows, by_down, &first_row, &last_row);
  windows_with(p.column, kw, across, 0, columns, by_across, &first, &last);
  const Some own = ((const Some*)x)[i];
  Some sum = {};
  for (int row = last_row; row >= first_row; row--)
    for (int column = last; column >= first; column--) {
      const int64 window = ((int64)p.image * rows + row) * columns + column;
      const Some top = ((const Some*)z)[window * channels + p.channel];
      const Some slope = ((const Some*)g)[window * channels + p.channel];
      const int own_u = p.row - row * down, own_v = p.column - column * across;
      const bool at_end = own_u == kh - 1 && own_v == kw - 1;
      bool won[LANES];
#pragma unroll
      for (int l = 0; l < LANES; l++) won[l] = at_end || own.at[l] == top.at[l];
      const Some* line = (const Some*)x + (int64)i - (int64)(own_u * width + own_v) * channels;
      for (int u = 0; u <= own_u; u++) {
        for (int v = 0; v < (u < own_u ? kw : own_v); v++) {
          const Some before = line[v * channels];
#pragma unroll
          for (int l = 0; l < LANES; l++) won[l] = won[l] && !(before.at[l] == top.at[l]);
        }
        line += width * channels;
      }
#pragma unroll
      for (int l = 0; l < LANES; l++) sum.at[l] += won[l] ? slope.at[l] : (NUMBER)0;
    }
  ((Some*)dx)[i] = sum;
}

// z = max(x + b, 0), NaN where x + b is; b (channels,).
extern "C" __global__ void __launch_bounds__(256, 1)
rectified(const NUMBER* x, const NUMBER* b, NUMBER* z, int channels, uint64 by_channels,
          int total) {
  const int i = this_thread();
  if (i >= total) return;
  Some sum = ((const Some*)x)[i];
  const Some more = ((const Some*)b)[i - divided(i, by_channels) * channels];
#pragma unroll
  for (int l = 0; l < LANES; l++) {
    sum.at[l] += more.at[l];
    if (sum.at[l] <= 0) sum.at[l] = 0;
  }
  ((Some*)z)[i] = sum;
}
// dx = g where z is positive, else 0.
extern "C" __global__ void __launch_bounds__(256, 1)
rectified_backward(const NUMBER* z, const NUMBER* g, NUMBER* dx, int total) {
  const int i = this_thread();
  if (i >= total) return;
  const Some top = ((const Some*)z)[i];
  Some slope = ((const Some*)g)[i];
#pragma unroll
  for (int l = 0; l < LANES; l++)
    if (!(top.at[l] > 0)) slope.at[l] = 0;
  ((Some*)dx)[i] = slope;
}
