// Random bits by counter: SplitMix64, as xpcls_backends/_random.py says it.

static __device__ __forceinline__ uint64 mixed(uint64 x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// out[i] = entry start + i of the stream of this seed, for i < n. One thread an entry.
extern "C" __global__ void counter_bits(unsigned* out, uint64 seed, uint64 start, int n) {
  const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= n) return;
  const uint64 entry = start + (uint64)i;
  const uint64 word = mixed((entry / 2 + 1) * 0x9E3779B97F4A7C15ull + seed);
  out[i] = (unsigned)(entry % 2 ? word >> 32 : word);
}
