// Compiled once per instruction set, with SEQMILL_ISA naming it. Inner loops run over a fixed number of lanes, so that compilers
// vectorise them without leave to reorder arithmetic, and sums come out the same with every compiler.

#include <cmath>
#include <cstring>
#include <vector>

#include "base/exponential.h"
#include "kernel/float_kernels.h"

#define SEQMILL_JOIN_(a, b) a##b
#define SEQMILL_JOIN(a, b) SEQMILL_JOIN_(a, b)
#define SEQMILL_TEXT_(a) #a
#define SEQMILL_TEXT(a) SEQMILL_TEXT_(a)

namespace seqmill::kernel {
namespace {

constexpr int64_t kLanes = 16;

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

float max_of(const float* x, int64_t count) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = -INFINITY;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  }
  float best = -INFINITY;
  for (const float lane : lanes) best = lane > best ? lane : best;
  for (; i < count; ++i) best = x[i] > best ? x[i] : best;
  return best;
}

template <typename Function>
inline float sum_of(int64_t count, Function term) {
  float lanes[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[l] += term(i + l);
  }
  for (int64_t l = 0; i < count; ++i, ++l) lanes[l] += term(i);
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

inline float dot(const float* a, const float* b, int64_t count) {
  return sum_of(count, [a, b](int64_t i) { return a[i] * b[i]; });
}

inline void axpy(float factor, const float* x, float* y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

/// transposed[d * length + j] = rows[j * stride + d]
void transpose(const float* rows, int64_t length, int64_t dim, int64_t stride, float* transposed) {
  for (int64_t j = 0; j < length; ++j) {
    for (int64_t d = 0; d < dim; ++d) transposed[d * length + j] = rows[j * stride + d];
  }
}

int64_t visible_keys(const AttentionHead& head, int64_t query) {
  if (!head.causal) return head.k_length;
  const int64_t visible = query + 1 + head.k_length - head.q_length;
  return visible < 0 ? 0 : visible > head.k_length ? head.k_length : visible;
}

/// scores[j] = a . rows[j], with the rows transposed or, for a single query, as they are.
inline void dots(const float* a, const float* rows, int64_t stride, const float* transposed, int64_t length, int64_t visible,
                 int64_t dim, float* scores) {
  if (!transposed) {
    for (int64_t j = 0; j < visible; ++j) scores[j] = dot(a, rows + j * stride, dim);
    return;
  }
  for (int64_t j = 0; j < visible; ++j) scores[j] = 0;
  for (int64_t d = 0; d < dim; ++d) axpy(a[d], transposed + d * length, scores, visible);
}

void softmax(float* scores, int64_t count, float scale) {
  const float largest = max_of(scores, count);
  for (int64_t j = 0; j < count; ++j) scores[j] = exp_of_negative((scores[j] - largest) * scale);
  const float inverse = 1.0f / sum_of(count, [scores](int64_t j) { return scores[j]; });
  for (int64_t j = 0; j < count; ++j) scores[j] *= inverse;
}

float* scratch(size_t size) {
  static thread_local std::vector<float> buffer;
  if (buffer.size() < size) buffer.resize(size);
  return buffer.data();
}

void attention_forward(const AttentionHead& head, float* weights, float* out, int64_t out_stride) {
  const Keys keys(head.dropout);
  const bool drops = head.dropout.probability > 0;
  const int64_t length = head.k_length;
  float* space = scratch(static_cast<size_t>(length * (head.dim + 1)));
  float* applied = space;
  float* transposed = head.q_length > 2 ? space + length : nullptr;
  if (transposed) transpose(head.k, length, head.dim, head.k_stride, transposed);
  for (int64_t i = 0; i < head.q_length; ++i) {
    float* row = weights + i * length;
    float* target = out + i * out_stride;
    const int64_t visible = visible_keys(head, i);
    dots(head.q + i * head.q_stride, head.k, head.k_stride, transposed, length, visible, head.dim, row);
    if (visible > 0) softmax(row, visible, head.scale);
    for (int64_t j = visible; j < length; ++j) row[j] = 0;
    const float* factors = row;
    if (drops) {
      const auto first = static_cast<uint32_t>(head.mask_offset + i * length);
      for (int64_t j = 0; j < visible; ++j) applied[j] = row[j] * keys.factor(first + static_cast<uint32_t>(j));
      factors = applied;
    }
    for (int64_t d = 0; d < head.dim; ++d) target[d] = 0;
    for (int64_t j = 0; j < visible; ++j) axpy(factors[j], head.v + j * head.v_stride, target, head.dim);
  }
}

void attention_backward(const AttentionHead& head, const float* weights, const float* grad_out, int64_t grad_out_stride,
                        float* grad_q, float* grad_k, float* grad_v) {
  const Keys keys(head.dropout);
  const bool drops = head.dropout.probability > 0;
  const int64_t length = head.k_length;
  float* grad_row = scratch(static_cast<size_t>(length * (head.dim + 2)));
  float* factors = grad_row + length;
  float* transposed = factors + length;
  transpose(head.v, length, head.dim, head.v_stride, transposed);
  for (int64_t j = 0; j < length; ++j) {
    for (int64_t d = 0; d < head.dim; ++d) grad_k[j * head.k_stride + d] = grad_v[j * head.v_stride + d] = 0;
  }
  for (int64_t i = 0; i < head.q_length; ++i) {
    const float* row = weights + i * length;
    const float* upper = grad_out + i * grad_out_stride;
    const int64_t visible = visible_keys(head, i);
    dots(upper, head.v, head.v_stride, transposed, length, visible, head.dim, grad_row);
    const auto first = static_cast<uint32_t>(head.mask_offset + i * length);
    for (int64_t j = 0; j < visible; ++j) {
      const float factor = drops ? keys.factor(first + static_cast<uint32_t>(j)) : 1.0f;
      factors[j] = row[j] * factor;
      grad_row[j] *= factor;
    }
    for (int64_t j = 0; j < visible; ++j) axpy(factors[j], upper, grad_v + j * head.v_stride, head.dim);
    const float mean = dot(row, grad_row, visible);
    for (int64_t j = 0; j < visible; ++j) grad_row[j] = row[j] * (grad_row[j] - mean) * head.scale;
    float* q_row = grad_q + i * head.q_stride;
    for (int64_t d = 0; d < head.dim; ++d) q_row[d] = 0;
    for (int64_t j = 0; j < visible; ++j) {
      axpy(grad_row[j], head.k + j * head.k_stride, q_row, head.dim);
      axpy(grad_row[j], head.q + i * head.q_stride, grad_k + j * head.k_stride, head.dim);
    }
  }
}

float cross_entropy(float* logits, int64_t size, int64_t target, float smoothing, bool gradient, float* nll) {
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
  const float shift =
      largest + std::log(sum_of(size, [=](int64_t j) { return exp_of_negative(logits[j] - largest); }));
  for (int64_t j = 0; j < size; ++j) logits[j] -= shift;
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

void fill_rows(const float* bias, float* out, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) std::memcpy(out + r * columns, bias, static_cast<size_t>(columns) * sizeof(float));
}

void add_column_sums(const float* x, float* sum, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < columns; ++j) sum[j] += x[r * columns + j];
  }
}

}  // namespace

const FloatKernels& SEQMILL_JOIN(float_kernels_, SEQMILL_ISA)() {
  static const FloatKernels table{SEQMILL_TEXT(SEQMILL_ISA), dropout,       attention_forward, attention_backward,
                                  cross_entropy,             log_softmax,   adam,              sum_of_squares,
                                  moving_average,            fill_rows,     add_column_sums};
  return table;
}

}  // namespace seqmill::kernel
