// The losses of xpcls/losses.py for one row, whose scores are in registers: -DCLASSES= of them.

#ifndef CLASSES
#define CLASSES 10
#endif

// In the order of KINDS in losses.py.
enum { SOFTMAX, ONE_VS_ALL, STRUCTURED, HINGE, SQUARED_HINGE, SQUARED_ERROR };

// factor * loss of the scores s of one row, which become its gradient; see xpcls/losses.py.
// Comparisons are put so that NaN goes on into the loss.
static __device__ float loss_of_row(int kind, float delta, float* s, int y, float factor) {
  float loss = 0.0f, pull = 0.0f, of_class = 0.0f;
#pragma unroll
  for (int c = 0; c < CLASSES; c++)
    if (c == y) of_class = s[c];
  if (kind == SOFTMAX) {
    float top = s[0];
#pragma unroll
    for (int c = 1; c < CLASSES; c++) top = fmaxf(top, s[c]);
#pragma unroll
    for (int c = 0; c < CLASSES; c++) {
      s[c] = expf(s[c] - top);
      pull += s[c];
    }
#pragma unroll
    for (int c = 0; c < CLASSES; c++) s[c] = s[c] * (factor / pull) - (c == y ? factor : 0.0f);
    return factor * (logf(pull) - (of_class - top));
  }
  if (kind == SQUARED_ERROR) {
#pragma unroll
    for (int c = 0; c < CLASSES; c++) {
      const float difference = s[c] - (c == y ? 1.0f : 0.0f);
      s[c] = 2.0f * difference * factor;
      loss += difference * difference;
    }
    return factor * loss;
  }
  if (kind == ONE_VS_ALL) {
#pragma unroll
    for (int c = 0; c < CLASSES; c++) {
      const float margin = c == y ? delta - s[c] : delta + s[c];
      const float slope = c == y ? -factor : factor;
      s[c] = margin <= 0.0f ? 0.0f : slope;
      loss += margin <= 0.0f ? 0.0f : margin;
    }
    return factor * loss;
  }
  if (kind == STRUCTURED) {
    int worst = y;
#pragma unroll
    for (int c = 0; c < CLASSES; c++) {
      const float margin = s[c] - of_class + delta;
      if (c != y && (margin > loss || margin != margin)) {
        loss = margin;
        worst = c;
      }
    }
#pragma unroll
    for (int c = 0; c < CLASSES; c++)
      s[c] = (c == worst ? factor : 0.0f) - (c == y ? factor : 0.0f);
    return factor * loss;
  }
#pragma unroll
  for (int c = 0; c < CLASSES; c++) {
    const float margin = s[c] - of_class + delta;
    if (c == y || margin <= 0.0f) {
      s[c] = 0.0f;
    } else {
      loss += kind == HINGE ? margin : margin * margin;
      s[c] = kind == HINGE ? factor : 2.0f * margin * factor;
    }
    pull += s[c];
  }
#pragma unroll
  for (int c = 0; c < CLASSES; c++)
    if (c == y) s[c] = -pull;
  return factor * loss;
}
