// |a - b| of one word added to a sum: of four bytes through VABSDIFF4, or of one float.

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
