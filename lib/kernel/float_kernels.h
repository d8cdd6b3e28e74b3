#pragma once
// float32 kernels on raw pointers. Each works on the part it is given, in one thread; callers share the work out. The same source
// is compiled once per instruction set and the best one that this CPU has is chosen when the program starts.

#include <cstdint>

#include "kernel/gemm.h"

namespace seqmill::kernel {

/// A dropout mask that is never stored: element i is dropped when hash(key, i) falls under the probability.
struct DropoutMask {
  uint64_t key = 0;
  float probability = 0;  ///< of dropping, in [0, 1); kept values are divided by 1 - probability: times the mask means times 0 or that
};

/// Attention weights without exponentials (Lin et al., 2020, "Towards Fully 8-bit Integer Inference for the Transformer Model", eqs. 11 and 12): a score x
/// weighs max(0, x + bias)^degree + |delta|, over the sum of all. Keys that are not to be seen weigh nothing.
struct Polynomial {
  int degree = 0;  ///< 1 to 4; 0: softmax instead
  float bias = 0, delta = 0;
};

/// One head of scaled dot-product attention (Vaswani et al., 2017, eq. 1) over one sequence. Strides are in floats between rows.
struct AttentionHead {
  const float* q;       ///< [q_length, dim]
  const float* k;       ///< [k_length, dim]
  const float* v;       ///< [k_length, dim]
  int64_t q_stride, k_stride, v_stride;
  int64_t q_length, k_length, dim;
  bool causal;          ///< query i sees keys 0 .. i + (k_length - q_length)
  float scale;          ///< usually 1 / sqrt(dim)
  DropoutMask dropout;  ///< on the attention weights; element index = mask_offset + i * k_length + j
  int64_t mask_offset;
  Polynomial polynomial;  ///< what makes weights of scores
  bool adds = false;      ///< the backward pass adds to the gradients of k and v, which other heads have begun
};

struct FloatKernels {
  const char* instruction_set;

  /// out[i] = (residual ? residual[i] : 0) + x[i] * mask(first + i) / (1 - p). In place is allowed.
  void (*dropout)(const float* x, const float* residual, float* out, int64_t first, int64_t count, DropoutMask mask);

  /// Unless it is null, `kept` [q_length, k_length] receives what the backward pass needs: the softmax before dropout, or max(0, x + bias) of a polynomial. `out`
  /// [q_length, dim] is overwritten. A query that sees no key gives zeros.
  void (*attention_forward)(const AttentionHead& head, float* kept, float* out, int64_t out_stride);
  /// Writes the gradients of q, k and v (rows with the strides of q, k, v in their gradient arrays, which are overwritten but for `adds`), and of a polynomial those of
  /// its bias and its delta into grad_polynomial[2].
  void (*attention_backward)(const AttentionHead& head, const float* kept, const float* grad_out,
                             int64_t grad_out_stride, float* grad_q, float* grad_k, float* grad_v, float* grad_polynomial);

  /// Label-smoothed cross-entropy of one row (Szegedy et al., 2016, section 7): the target distribution is 1 - smoothing on `target`
  /// plus smoothing / size everywhere. Returns the loss; *nll = -log p(target). `bias`, unless it is null, is added to the logits in place.
  /// With `gradient`, `logits` is overwritten by d loss / d logits.
  float (*cross_entropy)(float* logits, const float* bias, int64_t size, int64_t target, float smoothing, bool gradient, float* nll);

  /// logits -> log-probabilities, in place.
  void (*log_softmax)(float* logits, int64_t size);

  /// One step of Adam (Kingma & Ba, 2015) with decoupled weight decay (Loshchilov & Hutter, 2019) when `decoupled`, else L2:
  /// gradient * gradient_scale is the gradient; `step_size` and `root_correction` carry the bias corrections:
  /// p -= step_size * m / (sqrt(v) * root_correction + epsilon).
  void (*adam)(float* parameter, const float* gradient, float* m, float* v, int64_t count, float gradient_scale,
               float step_size, float root_correction, float beta1, float beta2, float epsilon, float weight_decay,
               float learning_rate, bool decoupled);

  /// Sum of squares in double.
  double (*sum_of_squares)(const float* x, int64_t count);
  /// average = decay * average + (1 - decay) * x
  void (*moving_average)(float* average, const float* x, int64_t count, float decay);
  /// Rounded to the nearest, ties to even; NaN stays NaN.
  void (*to_bfloat16)(const float* x, BFloat16* out, int64_t count);
  /// sum[j] += over rows of x [rows, columns], whose rows are `stride` apart.
  void (*add_column_sums)(const float* x, int64_t stride, float* sum, int64_t rows, int64_t columns);
  void (*add_column_sums_bfloat16)(const BFloat16* x, int64_t stride, float* sum, int64_t rows, int64_t columns);

  /// x [rows, columns] = (residual ? residual : 0) + (x + bias) * mask in place; `bias` may be null. The index of x[0] in the mask is `first`.
  void (*bias_dropout_add)(float* x, const float* bias, const float* residual, int64_t rows, int64_t columns, int64_t first, DropoutMask mask);
  /// x [rows, columns] = max(0, x + bias) in place, dropped out as by `dropout`.
  void (*bias_relu)(float* x, const float* bias, int64_t rows, int64_t columns, int64_t first, DropoutMask mask);
  /// x = x / 2 (1 + erf(x / sqrt 2)) in place (Hendrycks & Gimpel, 2016), within 3e-7 of the larger of |x| and 1.
  void (*gelu)(float* x, int64_t count);
  /// gradient[i] = activated[i] > 0 ? gradient[i] * scale : 0
  void (*relu_backward)(float* gradient, const float* activated, int64_t count, float scale);
  /// out = gradient * mask rounded to bfloat16, and sum[j] += the column sums of that before it is rounded, unless `sum` is null. All
  /// matrices are [rows, columns] with rows `stride` apart; the mask is that of numbers that begin with index `first`.
  void (*dropout_backward_bfloat16)(const float* gradient, BFloat16* out, float* sum, int64_t stride, int64_t rows, int64_t columns,
                                    int64_t first, DropoutMask mask);
  /// The same for out = activated > 0 ? gradient * scale : 0.
  void (*relu_backward_bfloat16)(const float* gradient, const BFloat16* activated, float scale, BFloat16* out, float* sum, int64_t stride,
                                 int64_t rows, int64_t columns);
  /// Layer normalisation of rows: out = (x - mean) * inverse * weight + bias with inverse = 1 / sqrt(variance + epsilon), the variance being the
  /// biased one. `mean` and `inverse` [rows] are written.
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float epsilon, float* out, float* mean, float* inverse, int64_t rows,
                     int64_t columns);
  /// The same with the mean deviation in place of the standard deviation (Lin et al., 2020, eq. 13): inverse = 1 / (sqrt(pi / 2) * mean |x - mean| +
  /// epsilon). The constant makes both equal for normally distributed x.
  void (*l1_norm)(const float* x, const float* weight, const float* bias, float epsilon, float* out, float* mean, float* inverse, int64_t rows,
                  int64_t columns);
  /// grad_x = the gradient of x from that of the result, plus `residual_gradient` unless it is null. All matrices are [rows, columns].
  void (*layer_norm_backward)(const float* x, const float* weight, const float* mean, const float* inverse, const float* gradient,
                              const float* residual_gradient, float* grad_x, int64_t rows, int64_t columns);
  void (*l1_norm_backward)(const float* x, const float* weight, const float* mean, const float* inverse, const float* gradient,
                           const float* residual_gradient, float* grad_x, int64_t rows, int64_t columns);
  /// By the root of the mean square (Zhang & Sennrich, 2019, eq. 4): out = x * inverse * weight with inverse = 1 / sqrt(mean x^2 + epsilon), which is
  /// written [rows].
  void (*rms_norm)(const float* x, const float* weight, float epsilon, float* out, float* inverse, int64_t rows, int64_t columns);
  void (*rms_norm_backward)(const float* x, const float* weight, const float* inverse, const float* gradient, const float* residual_gradient, float* grad_x,
                            int64_t rows, int64_t columns);
  /// Of all norms, over rows (rms_norm: `mean` null): grad_weight[j] += gradient * (x - mean) * inverse, grad_bias[j] += gradient; either may be null. Rows of x and gradient are
  /// `stride` apart.
  void (*layer_norm_weight_backward)(const float* x, const float* mean, const float* inverse, const float* gradient, int64_t stride,
                                     float* grad_weight, float* grad_bias, int64_t rows, int64_t columns);
  /// The gated unit of a row [2 * columns] of gates and values (Shazeer, 2020, SwiGLU): out = value * gate / (1 + exp(-gate)), rows [columns].
  void (*swiglu)(const float* gates, float* out, int64_t rows, int64_t columns);
  /// out [rows, 2 * columns] = the gradient of gates and values from that of the result [rows, columns].
  void (*swiglu_backward)(const float* gates, const float* gradient, float* out, int64_t rows, int64_t columns);
  /// The same, what it reads and writes being rounded.
  void (*swiglu_backward_bfloat16)(const BFloat16* gates, const float* gradient, BFloat16* out, int64_t rows, int64_t columns);
  /// Rotary positions (Su et al., 2021, eq. 34) of one row: `heads` heads of 2 * half numbers, a pair being one of each half. `cosines` and `sines` [half];
  /// `back` turns the other way. In place is allowed.
  void (*rotate)(const float* x, float* out, const float* cosines, const float* sines, bool back, int64_t heads, int64_t half);
  /// out += scale * x
  void (*add_scaled)(const float* x, float scale, float* out, int64_t count);
  /// to += from, from = 0
  void (*move_added)(float* from, float* to, int64_t count);
};

/// sqrt(pi / 2): of normally distributed numbers, the standard deviation over the mean deviation.
constexpr double kDeviationOfMeanDeviation = 1.2533141373155003;

const FloatKernels& float_kernels();

}  // namespace seqmill::kernel
