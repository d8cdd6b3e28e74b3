// Compiled once per instruction set, with SEQMILL_ISA naming it. Inner loops run over a fixed number of lanes, so that compilers
// vectorise them without leave to reorder arithmetic.

#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "base/exponential.h"
#include "kernel/float_kernels.h"
#include "kernel/isa/lanes.h"
#include "kernel/isa/names.h"
#include "kernel/isa/polynomial.h"

namespace seqmill::kernel {
namespace {

inline uint32_t hash(uint32_t index, uint32_t key0, uint32_t key1) {
  uint32_t h = (index ^ key0) * 0x7feb352dU;
  h ^= h >> 15;
  h = (h + key1) * 0x846ca68bU;
  h ^= h >> 16;
  h *= 0x9e3779b1U;
  return h ^ (h >> 15);
}

struct Keys {
  uint32_t key0, key1, threshold;
  float scale;
  explicit Keys(const DropoutMask& mask)
      : key0(static_cast<uint32_t>(mask.key)),
        key1(static_cast<uint32_t>(mask.key >> 32)),
        threshold(static_cast<uint32_t>(static_cast<double>(mask.probability) * 4294967296.0)),
        scale(1.0f / (1.0f - mask.probability)) {}
  float factor(uint32_t index) const { return hash(index, key0, key1) >= threshold ? scale : 0.0f; }
};

void dropout(const float* x, const float* residual, float* out, int64_t first, int64_t count, DropoutMask mask) {
  const Keys keys(mask);
  const auto base = static_cast<uint32_t>(first);
  if (residual) {
    for (int64_t i = 0; i < count; ++i) out[i] = residual[i] + x[i] * keys.factor(base + static_cast<uint32_t>(i));
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = x[i] * keys.factor(base + static_cast<uint32_t>(i));
  }
}

int64_t padded(int64_t count) { return (count + kLanes - 1) / kLanes * kLanes; }

/// Factors of a product: number (r, t) is at data[r * row + t * term].
struct Factors {
  const float* data;
  int64_t row, term;
};

// Vectors are loaded and stored one by one: of a copy of them all, g++ 12 keeps the array in memory and stores it in every turn.
template <int kRows, int kVectors>
inline void product_block(Factors a, const float* x, int64_t x_stride, float* out, int64_t out_stride, int64_t terms, bool adds) {
  Vector sums[kRows][kVectors] = {};
  if (adds) {
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sums[r][v] = load(out + r * out_stride + v * kVectorLanes);
    }
  }
  for (int64_t t = 0; t < terms; ++t) {
    Vector row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = load(x + t * x_stride + v * kVectorLanes);
    for (int r = 0; r < kRows; ++r) {
      const float factor = a.data[r * a.row + t * a.term];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += factor * row[v];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) std::memcpy(out + r * out_stride + v * kVectorLanes, &sums[r][v], sizeof(Vector));
  }
}

// How many vectors of sums stay in registers beside the factors.
#if defined(__AVX512F__)
constexpr int kSums = 20, kBlockRows = 8;
#else
constexpr int kSums = 8, kBlockRows = 4;
#endif

/// As many columns, from `c` on, as fill blocks of kVectors.
template <int kRows, int kVectors>
inline int64_t product_columns(int64_t c, Factors a, const float* x, int64_t x_stride, float* out, int64_t out_stride, int64_t columns,
                               int64_t terms, bool adds) {
  constexpr int64_t kColumns = kVectors * kVectorLanes;
  for (; c + kColumns <= columns; c += kColumns) product_block<kRows, kVectors>(a, x + c, x_stride, out + c, out_stride, terms, adds);
  return c;
}

template <int kRows>
inline void product_rows(Factors a, const float* x, int64_t x_stride, float* out, int64_t out_stride, int64_t columns, int64_t terms,
                         bool adds) {
  constexpr int kVectors = 4 * kRows <= kSums ? 4 : 2;
  int64_t c = product_columns<kRows, kVectors>(0, a, x, x_stride, out, out_stride, columns, terms, adds);
  c = product_columns<kRows, 1>(c, a, x, x_stride, out, out_stride, columns, terms, adds);
  for (; c < columns; ++c) {
    for (int r = 0; r < kRows; ++r) {
      float sum = adds ? out[r * out_stride + c] : 0;
      for (int64_t t = 0; t < terms; ++t) sum += a.data[r * a.row + t * a.term] * x[t * x_stride + c];
      out[r * out_stride + c] = sum;
    }
  }
}

/// out[r][c] = sum over t of a(r, t) * x[t][c] for at most kBlockRows rows: a product too small for the library. With `adds`, out is added to.
template <int kRows = kBlockRows>
void product(int64_t rows, Factors a, const float* x, int64_t x_stride, float* out, int64_t out_stride, int64_t columns,
             int64_t terms, bool adds = false) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return product<kRows - 1>(rows, a, x, x_stride, out, out_stride, columns, terms, adds);
  }
  product_rows<kRows>(a, x, x_stride, out, out_stride, columns, terms, adds);
}

/// transposed[d][j] = rows[j][d], with zeros up to `width` columns, a multiple of kLanes.
void transpose(const float* rows, int64_t length, int64_t dim, int64_t stride, float* transposed, int64_t width) {
  const int64_t squares = dim / kVectorLanes * kVectorLanes;
  for (int64_t j = 0; j < width; j += kVectorLanes) {
    for (int64_t d = 0; d < squares; d += kVectorLanes) {
      Vector square[kVectorLanes];
      for (int64_t i = 0; i < kVectorLanes; ++i) square[i] = j + i < length ? load(rows + (j + i) * stride + d) : Vector{};
      transpose_square(square);
      for (int64_t i = 0; i < kVectorLanes; ++i) std::memcpy(transposed + (d + i) * width + j, &square[i], sizeof(Vector));
    }
  }
  for (int64_t d = squares; d < dim; ++d) {
    for (int64_t j = 0; j < width; ++j) transposed[d * width + j] = j < length ? rows[j * stride + d] : 0.0f;
  }
}

int64_t visible_keys(const AttentionHead& head, int64_t query) {
  if (!head.causal) return head.k_length;
  const int64_t visible = query + 1 + head.k_length - head.q_length;
  return visible < 0 ? 0 : visible > head.k_length ? head.k_length : visible;
}

/// The first query that sees the key; q_length when none does.
int64_t first_query(const AttentionHead& head, int64_t key) {
  if (!head.causal) return 0;
  const int64_t query = key - (head.k_length - head.q_length);
  return query < 0 ? 0 : query > head.q_length ? head.q_length : query;
}

/// In place, over padded(count) places; the padding becomes 0.
void softmax(float* scores, int64_t count, float scale) {
  const int64_t width = padded(count);
  for (int64_t j = count; j < width; ++j) scores[j] = -INFINITY;
  const float largest = max_of(scores, width);
  for (int64_t j = 0; j < width; ++j) scores[j] = exp_of_negative((scores[j] - largest) * scale);
  const float inverse = 1.0f / sum_of(width, [scores](int64_t j) { return scores[j]; });
  for (int64_t j = 0; j < width; ++j) scores[j] *= inverse;
}

float* scratch(size_t size) {
  static thread_local std::vector<float> buffer;
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

/// out[r] = sum over the keys that query first + r sees of factors[r][j] * x[j]. What is hidden from a query is not read, so that NaN there
/// stays there.
void sum_over_keys(const AttentionHead& head, int64_t first, int64_t rows, const float* factors, int64_t width, const float* x,
                   int64_t x_stride, float* out, int64_t out_stride) {
  const int64_t common = visible_keys(head, first);
  product(rows, {factors, width, 1}, x, x_stride, out, out_stride, head.dim, common);
  if (!head.causal) return;
  for (int64_t r = 1; r < rows; ++r) {
    product(1, {factors + r * width + common, width, 1}, x + common * x_stride, x_stride, out + r * out_stride, out_stride, head.dim,
            visible_keys(head, first + r) - common, true);
  }
}

void attention_forward(const AttentionHead& head, float* kept, float* out, int64_t out_stride) {
  const Keys keys(head.dropout);
  const bool drops = head.dropout.probability > 0;
  const int64_t length = head.k_length, width = padded(length);
  float* scores = scratch(static_cast<size_t>(width * (head.dim + kBlockRows)));
  float* transposed = scores + width * kBlockRows;
  const bool single = head.q_length <= 2;  // a transposed copy of the keys would cost more than it saves
  if (!single) transpose(head.k, length, head.dim, head.k_stride, transposed, width);
  for (int64_t first = 0; first < head.q_length; first += kBlockRows) {
    const int64_t rows = head.q_length - first < kBlockRows ? head.q_length - first : kBlockRows;
    const int64_t most = visible_keys(head, first + rows - 1);
    if (single) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t j = 0; j < most; ++j) scores[r * width + j] = dot(head.q + r * head.q_stride, head.k + j * head.k_stride, head.dim);
      }
    } else {
      product(rows, {head.q + first * head.q_stride, head.q_stride, 1}, transposed, width, scores, width, padded(most), head.dim);
    }
    for (int64_t r = 0; r < rows; ++r) {
      float* score = scores + r * width;
      float* row = kept ? kept + (first + r) * length : nullptr;
      const int64_t visible = visible_keys(head, first + r);
      if (head.polynomial.degree > 0) {
        float* shifted = row ? row : score;
        shift(score, visible, head.scale, head.polynomial.bias, shifted);
        polynomial_weights(shifted, visible, head.polynomial, score);
        for (int64_t j = visible; j < padded(visible); ++j) score[j] = 0;
      } else if (visible > 0) {
        softmax(score, visible, head.scale);
        for (int64_t j = 0; row && j < visible; ++j) row[j] = score[j];
      }
      for (int64_t j = visible; row && j < length; ++j) row[j] = 0;
      if (!drops) continue;
      const auto index = static_cast<uint32_t>(head.mask_offset + (first + r) * length);
      for (int64_t j = 0; j < padded(visible); ++j) score[j] *= keys.factor(index + static_cast<uint32_t>(j));
    }
    sum_over_keys(head, first, rows, scores, width, head.v, head.v_stride, out + first * out_stride, out_stride);
  }
}

/// The gradient of the keys or values: out[j] = sum over the queries that see key j of factors[i][j] * x[i].
void sum_over_queries(const AttentionHead& head, const float* factors, int64_t width, const float* x, int64_t x_stride, float* out,
                      int64_t out_stride) {
  for (int64_t first = 0; first < head.k_length; first += kBlockRows) {
    const int64_t rows = head.k_length - first < kBlockRows ? head.k_length - first : kBlockRows;
    float* target = out + first * out_stride;
    const int64_t common = first_query(head, first + rows - 1);
    product(rows, {factors + common * width + first, 1, width}, x + common * x_stride, x_stride, target, out_stride, head.dim,
            head.q_length - common, head.adds);
    for (int64_t r = 0; head.causal && r < rows - 1; ++r) {
      const int64_t own = first_query(head, first + r);
      product(1, {factors + own * width + first + r, 1, width}, x + own * x_stride, x_stride, target + r * out_stride, out_stride,
              head.dim, common - own, true);
    }
  }
}

/// The gradient of a row of softmax: grad, that of the weights, becomes that of the scores.
void softmax_backward(const float* weights, float* grad, int64_t count, float scale) {
  const float mean = dot(weights, grad, count);
  for (int64_t j = 0; j < count; ++j) grad[j] = weights[j] * (grad[j] - mean) * scale;
}

/// The same of a polynomial, whose weights are those of `kept`; adds to the gradients of bias and delta.
void polynomial_backward(const float* kept, const float* weights, float sum, float* grad, int64_t count, float scale, Polynomial polynomial, float* grad_polynomial) {
  if (sum == 0) return;
  const float mean = dot(weights, grad, count), inverse = 1.0f / sum;
  const float of_delta = (sum_of(count, [grad](int64_t j) { return grad[j]; }) - static_cast<float>(count) * mean) * inverse;
  with_degree(polynomial.degree, [=](auto degree) {
    constexpr int kDegree = degree;
    for (int64_t j = 0; j < count; ++j) {
      const float slope = static_cast<float>(kDegree) * power<kDegree - 1>(kept[j]);
      grad[j] = kept[j] > 0 ? (grad[j] - mean) * inverse * slope : 0.0f;
    }
  });
  grad_polynomial[0] += sum_of(count, [grad](int64_t j) { return grad[j]; });
  grad_polynomial[1] += polynomial.delta < 0 ? -of_delta : polynomial.delta > 0 ? of_delta : 0.0f;
  for (int64_t j = 0; j < count; ++j) grad[j] *= scale;
}

void attention_backward(const AttentionHead& head, const float* kept, const float* grad_out, int64_t grad_out_stride,
                        float* grad_q, float* grad_k, float* grad_v, float* grad_polynomial) {
  const Keys keys(head.dropout);
  const bool drops = head.dropout.probability > 0;
  const int64_t length = head.k_length, width = padded(length), matrix = head.q_length * width;
  float* grad_scores = scratch(static_cast<size_t>(2 * matrix + width * (head.dim + 1)));
  float* applied = grad_scores + matrix;  // the weights after dropout
  float* transposed = applied + matrix;
  float* made = transposed + width * head.dim;  // a row of weights of a polynomial
  const int polynomial_degree = head.polynomial.degree;
  if (polynomial_degree > 0) grad_polynomial[0] = grad_polynomial[1] = 0;
  transpose(head.v, length, head.dim, head.v_stride, transposed, width);
  for (int64_t first = 0; first < head.q_length; first += kBlockRows) {
    const int64_t rows = head.q_length - first < kBlockRows ? head.q_length - first : kBlockRows;
    const int64_t most = visible_keys(head, first + rows - 1);
    product(rows, {grad_out + first * grad_out_stride, grad_out_stride, 1}, transposed, width, grad_scores + first * width, width,
            padded(most), head.dim);
    for (int64_t i = first; i < first + rows; ++i) {
      const float *row = kept + i * length, *weights = row;
      float *grad = grad_scores + i * width, *factor = applied + i * width;
      const int64_t visible = visible_keys(head, i);
      float sum = 1;
      if (polynomial_degree > 0) {
        sum = polynomial_weights(row, visible, head.polynomial, made);
        weights = made;
      }
      const auto index = static_cast<uint32_t>(head.mask_offset + i * length);
      for (int64_t j = 0; j < visible; ++j) {
        const float factor_of_mask = drops ? keys.factor(index + static_cast<uint32_t>(j)) : 1.0f;
        factor[j] = weights[j] * factor_of_mask;
        grad[j] *= factor_of_mask;
      }
      if (polynomial_degree > 0) {
        polynomial_backward(row, weights, sum, grad, visible, head.scale, head.polynomial, grad_polynomial);
      } else {
        softmax_backward(weights, grad, visible, head.scale);
      }
      for (int64_t j = visible; j < width; ++j) grad[j] = factor[j] = 0;
    }
    sum_over_keys(head, first, rows, grad_scores + first * width, width, head.k, head.k_stride, grad_q + first * head.q_stride,
                  head.q_stride);
  }
  sum_over_queries(head, grad_scores, width, head.q, head.q_stride, grad_k, head.k_stride);
  sum_over_queries(head, applied, width, grad_out, grad_out_stride, grad_v, head.v_stride);
}

float cross_entropy(float* logits, const float* bias, int64_t size, int64_t target, float smoothing, bool gradient, float* nll) {
  for (int64_t j = 0; bias && j < size; ++j) logits[j] += bias[j];
  const float largest = max_of(logits, size);
  const float target_logit = logits[target];
  const float uniform = smoothing / static_cast<float>(size);
  // The mean logit is taken relative to the largest one: sums of large vocabularies stay exact enough in float32.
  const float mean = smoothing > 0 ? sum_of(size, [=](int64_t j) { return logits[j] - largest; }) / static_cast<float>(size) : 0;
  float sum;
  if (gradient) {
    for (int64_t j = 0; j < size; ++j) logits[j] = exp_of_negative(logits[j] - largest);
    sum = sum_of(size, [=](int64_t j) { return logits[j]; });
    const float inverse = 1.0f / sum;
    for (int64_t j = 0; j < size; ++j) logits[j] = logits[j] * inverse - uniform;
    logits[target] -= 1.0f - smoothing;
  } else {
    sum = sum_of(size, [=](int64_t j) { return exp_of_negative(logits[j] - largest); });
  }
  const float log_sum = std::log(sum);
  *nll = log_sum - (target_logit - largest);
  return (1.0f - smoothing) * *nll + smoothing * (log_sum - mean);
}

void log_softmax(float* logits, int64_t size) {
  const float largest = max_of(logits, size);
  const float log_sum = std::log(sum_of(size, [=](int64_t j) { return exp_of_negative(logits[j] - largest); }));
  // One after the other: of large logits the sum of both would lose digits.
  for (int64_t j = 0; j < size; ++j) logits[j] = (logits[j] - largest) - log_sum;
}

void adam(float* parameter, const float* gradient, float* m, float* v, int64_t count, float gradient_scale, float step_size,
          float root_correction, float beta1, float beta2, float epsilon, float weight_decay, float learning_rate,
          bool decoupled) {
  const float shrink = decoupled ? 1.0f - learning_rate * weight_decay : 1.0f;
  const float l2 = decoupled ? 0.0f : weight_decay;
  for (int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] * gradient_scale + l2 * parameter[i];
    m[i] = beta1 * m[i] + (1.0f - beta1) * g;
    v[i] = beta2 * v[i] + (1.0f - beta2) * g * g;
    parameter[i] = parameter[i] * shrink - step_size * m[i] / (std::sqrt(v[i]) * root_correction + epsilon);
  }
}

double sum_of_squares(const float* x, int64_t count) {
  double lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += static_cast<double>(x[i + l]) * static_cast<double>(x[i + l]);
  }
  double sum = 0;
  for (const double lane : lanes) sum += lane;
  for (; i < count; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

void moving_average(float* average, const float* x, int64_t count, float decay) {
  for (int64_t i = 0; i < count; ++i) average[i] = decay * average[i] + (1.0f - decay) * x[i];
}

inline BFloat16 rounded(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const uint32_t nearest = (bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16;
  return {static_cast<uint16_t>(x == x ? nearest : 0x7fc0U)};
}

void to_bfloat16(const float* x, BFloat16* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = rounded(x[i]);
}

void add_column_sums(const float* x, int64_t stride, float* sum, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) sum[j] += x[r * stride + j];
  }
}

inline float to_float(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

void add_column_sums_bfloat16(const BFloat16* x, int64_t stride, float* sum, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) sum[j] += to_float(x[r * stride + j]);
  }
}

void bias_dropout_add(float* x, const float* bias, const float* residual, int64_t rows, int64_t columns, int64_t first, DropoutMask mask) {
  for (int64_t r = 0; r < rows; ++r) {
    float* row = x + r * columns;
    if (bias) {
      for (int64_t j = 0; j < columns; ++j) row[j] += bias[j];
    }
    const float* base = residual ? residual + r * columns : nullptr;
    if (mask.probability > 0) {
      dropout(row, base, row, first + r * columns, columns, mask);
    } else if (base) {
      for (int64_t j = 0; j < columns; ++j) row[j] += base[j];
    }
  }
}

void bias_relu(float* x, const float* bias, int64_t rows, int64_t columns, int64_t first, DropoutMask mask) {
  for (int64_t r = 0; r < rows; ++r) {
    float* row = x + r * columns;
    for (int64_t j = 0; j < columns; ++j) {
      const float value = row[j] + bias[j];
      row[j] = value < 0 ? 0.0f : value;  // NaN stays
    }
  }
  if (mask.probability > 0) dropout(x, nullptr, x, first, rows * columns, mask);
}

void gelu(float* x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    // The error function by Abramowitz & Stegun, 1964, 7.1.26.
    const float size = std::fabs(x[i]) * 0.70710678f, t = 1.0f / (1.0f + 0.3275911f * size);
    const float polynomial = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))));
    const float erf = 1.0f - polynomial * exp_of_negative(-size * size);
    x[i] = 0.5f * x[i] * (1.0f + (x[i] < 0 ? -erf : erf));
  }
}

void relu_backward(float* gradient, const float* activated, int64_t count, float scale) {
  for (int64_t i = 0; i < count; ++i) gradient[i] = activated[i] > 0 ? gradient[i] * scale : 0.0f;
}

/// out = value(row, column) rounded, and sum += its column sums.
template <typename Value>
inline void round_and_sum(BFloat16* out, float* sum, int64_t stride, int64_t rows, int64_t columns, Value value) {
  for (int64_t r = 0; r < rows; ++r) {
    if (sum) {
      for (int64_t j = 0; j < columns; ++j) {
        const float number = value(r, j);
        sum[j] += number;
        out[r * stride + j] = rounded(number);
      }
    } else {
      for (int64_t j = 0; j < columns; ++j) out[r * stride + j] = rounded(value(r, j));
    }
  }
}

void dropout_backward_bfloat16(const float* gradient, BFloat16* out, float* sum, int64_t stride, int64_t rows, int64_t columns,
                               int64_t first, DropoutMask mask) {
  if (mask.probability == 0) {
    return round_and_sum(out, sum, stride, rows, columns, [=](int64_t r, int64_t j) { return gradient[r * stride + j]; });
  }
  const Keys keys(mask);
  round_and_sum(out, sum, stride, rows, columns, [=](int64_t r, int64_t j) {
    const int64_t at = r * stride + j;
    return gradient[at] * keys.factor(static_cast<uint32_t>(first + at));
  });
}

void relu_backward_bfloat16(const float* gradient, const BFloat16* activated, float scale, BFloat16* out, float* sum, int64_t stride,
                            int64_t rows, int64_t columns) {
  round_and_sum(out, sum, stride, rows, columns, [=](int64_t r, int64_t j) {
    const int64_t at = r * stride + j;
    return to_float(activated[at]) > 0 ? gradient[at] * scale : 0.0f;
  });
}

/// `inverse_of(row, mean)` is what a row is multiplied by once its mean is 0.
template <typename Inverse>
inline void norm_rows(const float* x, const float* weight, const float* bias, float* out, float* mean, float* inverse, int64_t rows, int64_t columns,
                      Inverse inverse_of) {
  const float share = 1.0f / static_cast<float>(columns);
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * columns;
    float* to = out + r * columns;
    const float middle = sum_of(columns, [row](int64_t j) { return row[j]; }) * share;
    const float factor = inverse_of(row, middle);
    for (int64_t j = 0; j < columns; ++j) to[j] = (row[j] - middle) * factor * weight[j] + bias[j];
    mean[r] = middle;
    inverse[r] = factor;
  }
}

void layer_norm(const float* x, const float* weight, const float* bias, float epsilon, float* out, float* mean, float* inverse, int64_t rows,
                int64_t columns) {
  const float share = 1.0f / static_cast<float>(columns);
  norm_rows(x, weight, bias, out, mean, inverse, rows, columns, [=](const float* row, float middle) {
    const float variance = sum_of(columns, [row, middle](int64_t j) { return (row[j] - middle) * (row[j] - middle); }) * share;
    return 1.0f / std::sqrt(variance + epsilon);
  });
}

void l1_norm(const float* x, const float* weight, const float* bias, float epsilon, float* out, float* mean, float* inverse, int64_t rows,
             int64_t columns) {
  const float share = 1.0f / static_cast<float>(columns);
  norm_rows(x, weight, bias, out, mean, inverse, rows, columns, [=](const float* row, float middle) {
    const float deviation = sum_of(columns, [row, middle](int64_t j) { return std::fabs(row[j] - middle); }) * share;
    return 1.0f / (static_cast<float>(kDeviationOfMeanDeviation) * deviation + epsilon);
  });
}

void l1_norm_backward(const float* x, const float* weight, const float* mean, const float* inverse, const float* gradient, const float* residual_gradient,
                      float* grad_x, int64_t rows, int64_t columns) {
  const float share = 1.0f / static_cast<float>(columns);
  for (int64_t r = 0; r < rows; ++r) {
    const float *row = x + r * columns, *upper = gradient + r * columns;
    const float* passed = residual_gradient ? residual_gradient + r * columns : nullptr;
    float* to = grad_x + r * columns;
    const float middle = mean[r], factor = inverse[r];
    const auto sign = [=](int64_t j) { return row[j] > middle ? 1.0f : row[j] < middle ? -1.0f : 0.0f; };
    const float slope = sum_of(columns, [=](int64_t j) { return upper[j] * weight[j] * (row[j] - middle); }) * share * factor * factor *
                        static_cast<float>(kDeviationOfMeanDeviation);
    const float sum = sum_of(columns, [=](int64_t j) { return upper[j] * weight[j] * factor - slope * sign(j); }) * share;
    for (int64_t j = 0; j < columns; ++j) to[j] = (passed ? passed[j] : 0.0f) + (upper[j] * weight[j] * factor - slope * sign(j) - sum);
  }
}

void layer_norm_backward(const float* x, const float* weight, const float* mean, const float* inverse, const float* gradient, const float* residual_gradient,
                         float* grad_x, int64_t rows, int64_t columns) {
  const float share = 1.0f / static_cast<float>(columns);
  for (int64_t r = 0; r < rows; ++r) {
    const float *row = x + r * columns, *upper = gradient + r * columns;
    float* to = grad_x + r * columns;
    const float middle = mean[r], factor = inverse[r];
    const float sum = sum_of(columns, [=](int64_t j) { return upper[j] * weight[j]; }) * share;
    const float slope = sum_of(columns, [=](int64_t j) { return upper[j] * weight[j] * (row[j] - middle); }) * share * factor * factor;
    if (residual_gradient) {
      const float* passed = residual_gradient + r * columns;
      for (int64_t j = 0; j < columns; ++j) to[j] = passed[j] + (upper[j] * weight[j] - sum - (row[j] - middle) * slope) * factor;
    } else {
      for (int64_t j = 0; j < columns; ++j) to[j] = (upper[j] * weight[j] - sum - (row[j] - middle) * slope) * factor;
    }
  }
}

void rms_norm(const float* x, const float* weight, float epsilon, float* out, float* inverse, int64_t rows, int64_t columns) {
  const float share = 1.0f / static_cast<float>(columns);
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = x + r * columns;
    float* to = out + r * columns;
    const float factor = 1.0f / std::sqrt(dot(row, row, columns) * share + epsilon);
    for (int64_t j = 0; j < columns; ++j) to[j] = row[j] * factor * weight[j];
    inverse[r] = factor;
  }
}

void rms_norm_backward(const float* x, const float* weight, const float* inverse, const float* gradient, const float* residual_gradient, float* grad_x,
                       int64_t rows, int64_t columns) {
  const float share = 1.0f / static_cast<float>(columns);
  for (int64_t r = 0; r < rows; ++r) {
    const float *row = x + r * columns, *upper = gradient + r * columns;
    const float* passed = residual_gradient ? residual_gradient + r * columns : nullptr;
    float* to = grad_x + r * columns;
    const float factor = inverse[r];
    const float slope = sum_of(columns, [=](int64_t j) { return upper[j] * weight[j] * row[j]; }) * share * factor * factor;
    if (passed) {
      for (int64_t j = 0; j < columns; ++j) to[j] = passed[j] + (upper[j] * weight[j] - row[j] * slope) * factor;
    } else {
      for (int64_t j = 0; j < columns; ++j) to[j] = (upper[j] * weight[j] - row[j] * slope) * factor;
    }
  }
}

/// 1 / (1 + exp(-x))
inline float sigmoid(float x) {
  const float small = exp_of_negative(x < 0 ? x : -x);
  return (x < 0 ? small : 1.0f) / (1.0f + small);
}

void swiglu(const float* gates, float* out, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    const float *gate = gates + 2 * r * columns, *value = gate + columns;
    float* to = out + r * columns;
    for (int64_t j = 0; j < columns; ++j) to[j] = gate[j] * sigmoid(gate[j]) * value[j];
  }
}

inline float as_float(float x) { return x; }
inline float as_float(BFloat16 x) { return to_float(x); }
inline void store(float x, float& to) { to = x; }
inline void store(float x, BFloat16& to) { to = rounded(x); }

template <typename Number>
inline void swiglu_gradient(const Number* gates, const float* gradient, Number* out, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    const Number *gate = gates + 2 * r * columns, *value = gate + columns;
    const float* upper = gradient + r * columns;
    Number *of_gate = out + 2 * r * columns, *of_value = of_gate + columns;
    for (int64_t j = 0; j < columns; ++j) {
      const float g = as_float(gate[j]), share = sigmoid(g);
      store(upper[j] * as_float(value[j]) * share * (1.0f + g * (1.0f - share)), of_gate[j]);
      store(upper[j] * g * share, of_value[j]);
    }
  }
}

void swiglu_backward(const float* gates, const float* gradient, float* out, int64_t rows, int64_t columns) {
  swiglu_gradient(gates, gradient, out, rows, columns);
}

void swiglu_backward_bfloat16(const BFloat16* gates, const float* gradient, BFloat16* out, int64_t rows, int64_t columns) {
  swiglu_gradient(gates, gradient, out, rows, columns);
}

void rotate(const float* x, float* out, const float* cosines, const float* sines, bool back, int64_t heads, int64_t half) {
  const float sign = back ? -1.0f : 1.0f;
  for (int64_t h = 0; h < heads; ++h) {
    const float *first = x + 2 * h * half, *second = first + half;
    float *to_first = out + 2 * h * half, *to_second = to_first + half;
    for (int64_t i = 0; i < half; ++i) {
      const float a = first[i], b = second[i];
      const float sine = sign * sines[i];
      to_first[i] = a * cosines[i] - b * sine;
      to_second[i] = b * cosines[i] + a * sine;
    }
  }
}

void layer_norm_weight_backward(const float* x, const float* mean, const float* inverse, const float* gradient, int64_t stride, float* grad_weight,
                                float* grad_bias, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    const float *row = x + r * stride, *upper = gradient + r * stride;
    const float middle = mean ? mean[r] : 0.0f, factor = inverse[r];
    for (int64_t j = 0; grad_weight && j < columns; ++j) grad_weight[j] += upper[j] * (row[j] - middle) * factor;
    for (int64_t j = 0; grad_bias && j < columns; ++j) grad_bias[j] += upper[j];
  }
}

void move_added(float* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    to[i] += from[i];
    from[i] = 0;
  }
}

void add_scaled(const float* x, float scale, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] += scale * x[i];
}

}  // namespace

const FloatKernels& SEQMILL_JOIN(float_kernels_, SEQMILL_ISA)() {
  static const FloatKernels table{SEQMILL_TEXT(SEQMILL_ISA),
                                  dropout,
                                  attention_forward,
                                  attention_backward,
                                  cross_entropy,
                                  log_softmax,
                                  adam,
                                  sum_of_squares,
                                  moving_average,
                                  to_bfloat16,
                                  add_column_sums,
                                  add_column_sums_bfloat16,
                                  bias_dropout_add,
                                  bias_relu,
                                  gelu,
                                  relu_backward,
                                  dropout_backward_bfloat16,
                                  relu_backward_bfloat16,
                                  layer_norm,
                                  l1_norm,
                                  layer_norm_backward,
                                  l1_norm_backward,
                                  rms_norm,
                                  rms_norm_backward,
                                  layer_norm_weight_backward,
                                  swiglu,
                                  swiglu_backward,
                                  swiglu_backward_bfloat16,
                                  rotate,
                                  add_scaled,
                                  move_added};
  return table;
}

}  // namespace seqmill::kernel
