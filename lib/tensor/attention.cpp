#include "tensor/attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/threads.h"
#include "base/time_spent.h"
#include "tensor/autograd.h"
#include "tensor/runtime.h"

namespace seqmill::tensor {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Where queries, keys and values lie: columns of two matrices (of one matrix in self-attention).
struct Layout {
  int64_t heads = 1, kv_heads = 1, head_dim = 0;
  int64_t q_column = 0, k_column = 0, v_column = 0;
  int64_t dim() const { return heads * head_dim; }        ///< of queries and of the result
  int64_t kv_dim() const { return kv_heads * head_dim; }  ///< of keys, and of values
  int64_t group() const { return heads / kv_heads; }      ///< heads that share keys and values
  bool shared = false;  ///< queries, keys and values in one matrix
};

struct Plan : torch::CustomClassHolder {
  Layout layout;
  Spans q, k;
  bool causal = false;
  int64_t window = 0;
  kernel::DropoutMask mask;
  Polynomial polynomial;
  std::vector<int64_t> weights_offset;  ///< per sequence, into the array of all attention weights; one more at the end
};

std::vector<int64_t> weight_offsets(const Spans& q, const Spans& k, int64_t heads) {
  std::vector<int64_t> offsets{0};
  for (size_t s = 0; s < q.length.size(); ++s) offsets.push_back(offsets.back() + heads * q.length[s] * k.length[s]);
  return offsets;
}

kernel::AttentionHead head_of(const Plan& plan, const float* q_matrix, const float* kv_matrix, int64_t q_width,
                              int64_t kv_width, int64_t sequence, int64_t head) {
  const auto s = static_cast<size_t>(sequence);
  const int64_t head_dim = plan.layout.head_dim, kv_head = head / plan.layout.group();
  kernel::AttentionHead out{};
  out.q = q_matrix + plan.q.begin[s] * q_width + plan.layout.q_column + head * head_dim;
  out.k = kv_matrix + plan.k.begin[s] * kv_width + plan.layout.k_column + kv_head * head_dim;
  out.v = kv_matrix + plan.k.begin[s] * kv_width + plan.layout.v_column + kv_head * head_dim;
  out.q_stride = q_width;
  out.k_stride = out.v_stride = kv_width;
  out.q_length = plan.q.length[s];
  out.k_length = plan.k.length[s];
  out.dim = head_dim;
  out.causal = plan.causal;
  out.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  out.dropout = plan.mask;
  out.mask_offset = plan.weights_offset[s] + head * out.q_length * out.k_length;
  if (plan.polynomial.degree > 0) {
    out.polynomial = {static_cast<int>(plan.polynomial.degree), plan.polynomial.bias.data_ptr<float>()[head], plan.polynomial.delta.data_ptr<float>()[head]};
  }
  return out;
}

/// Calls work(sequence, head of keys) for all of them, shared out among the threads.
template <typename Function>
void for_each_kv_head(const Plan& plan, Function work) {
  const Timed timed(Work::kAttention);
  const int64_t heads = plan.layout.kv_heads, tasks = plan.q.count() * heads;
  const int64_t weight = plan.weights_offset.back() * plan.layout.head_dim;  // multiply-adds of one product
  const int64_t grain = weight < (1 << 16) ? tasks : std::max<int64_t>(1, tasks * (1 << 15) / std::max<int64_t>(1, weight));
  parallel_for(tasks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) work(task / heads, task % heads);
  });
}

/// The same for all heads of queries; those that share keys come one after another, in one thread.
template <typename Function>
void for_each_head(const Plan& plan, Function work) {
  for_each_kv_head(plan, [&](int64_t sequence, int64_t kv_head) {
    const int64_t group = plan.layout.group();
    for (int64_t h = 0; h < group; ++h) work(sequence, kv_head * group + h);
  });
}

/// `kept`: where the attention weights go that a backward pass needs; null: none will follow.
at::Tensor forward_fast(const at::Tensor& q_matrix, const at::Tensor& kv_matrix, const Plan& plan, at::Tensor* kept) {
  if (kept) *kept = at::empty({plan.weights_offset.back()}, q_matrix.options());
  const int64_t dim = plan.layout.dim();
  at::Tensor out = at::empty({q_matrix.size(0), dim}, q_matrix.options());
  const float *q = q_matrix.data_ptr<float>(), *kv = kv_matrix.data_ptr<float>();
  float *keeps = kept ? kept->data_ptr<float>() : nullptr, *target = out.data_ptr<float>();
  for_each_head(plan, [&](int64_t s, int64_t h) {
    const kernel::AttentionHead head = head_of(plan, q, kv, q_matrix.size(1), kv_matrix.size(1), s, h);
    kernel::float_kernels().attention_forward(
        head, keeps ? keeps + head.mask_offset : nullptr, target + plan.q.begin[static_cast<size_t>(s)] * dim + h * head.dim, dim);
  });
  return out;
}

/// Writes the gradients of queries and of keys and values (which may be the same matrix). Returns those of the polynomials [heads, 2]; undefined for softmax.
at::Tensor backward_fast(const Plan& plan, const at::Tensor& q_matrix, const at::Tensor& kv_matrix, const at::Tensor& kept, const at::Tensor& upper, at::Tensor& grad_q,
                         at::Tensor& grad_kv) {
  // [sequences, heads, 2]: summed afterwards, in the order of the sequences.
  at::Tensor grad_polynomial = at::empty({plan.polynomial.degree > 0 ? plan.q.count() : 0, plan.layout.heads, 2}, upper.options());
  const float *q = q_matrix.data_ptr<float>(), *kv = kv_matrix.data_ptr<float>(), *keeps = kept.data_ptr<float>(),
              *from = upper.data_ptr<float>();
  float* polynomial = plan.polynomial.degree > 0 ? grad_polynomial.data_ptr<float>() : nullptr;
  const int64_t dim = plan.layout.dim();
  for_each_head(plan, [&](int64_t s, int64_t h) {
    kernel::AttentionHead head = head_of(plan, q, kv, q_matrix.size(1), kv_matrix.size(1), s, h);
    head.adds = h % plan.layout.group() > 0;
    float* q_base = grad_q.data_ptr<float>() + (head.q - q);
    float* kv_base = grad_kv.data_ptr<float>();
    kernel::float_kernels().attention_backward(
        head, keeps + head.mask_offset, from + plan.q.begin[static_cast<size_t>(s)] * dim + h * head.dim, dim, q_base,
        kv_base + (head.k - kv), kv_base + (head.v - kv), polynomial ? polynomial + 2 * (s * plan.layout.heads + h) : nullptr);
  });
  return polynomial ? grad_polynomial.sum(0) : at::Tensor();
}

struct AttentionFunction : torch::autograd::Function<AttentionFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& q_matrix, const at::Tensor& kv_matrix,
                            const c10::optional<at::Tensor>&, const c10::optional<at::Tensor>&, const c10::intrusive_ptr<Plan>& plan) {
    at::Tensor kept;
    at::Tensor out = forward_fast(q_matrix, kv_matrix, *plan, &kept);
    context->save_for_backward({q_matrix, kv_matrix, kept});
    context->saved_data["plan"] = c10::IValue::make_capsule(plan);
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto capsule = context->saved_data["plan"].toCapsule();
    const Plan& plan = *static_cast<const Plan*>(capsule.get());
    at::Tensor grad_q = at::empty_like(saved[0]);
    at::Tensor grad_kv = plan.layout.shared ? grad_q : at::empty_like(saved[1]);
    const at::Tensor polynomial = backward_fast(plan, saved[0], saved[1], saved[2], grads[0].contiguous(), grad_q, grad_kv);
    const at::Tensor rest = plan.layout.shared ? at::Tensor() : grad_kv;
    if (plan.polynomial.degree == 0) return {grad_q, rest, {}, {}, {}};
    return {grad_q, rest, polynomial.select(1, 0), polynomial.select(1, 1), {}};
  }
};

/// Columns first .. first + width - 1 of the rows of a matrix -> [rows, width].
at::Tensor gather_rows(const at::Tensor& matrix, const at::Tensor& rows, int64_t first, int64_t width) {
  const Timed timed(Work::kAttention);
  at::Tensor out = at::empty({rows.size(0), width}, matrix.options().requires_grad(false));
  const int64_t *row = rows.data_ptr<int64_t>(), stride = matrix.size(1);
  const float* from = matrix.data_ptr<float>() + first;
  float* to = out.data_ptr<float>();
  parallel_for(rows.size(0), 64, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) std::copy_n(from + row[i] * stride, width, to + i * width);
  });
  return out;
}

/// Adds such rows back where they came from; a row may have been taken several times. Those columns of `matrix` hold nothing before.
void scatter_rows(const at::Tensor& values, const at::Tensor& rows, int64_t first, at::Tensor& matrix) {
  const Timed timed(Work::kAttention);
  const int64_t *row = rows.data_ptr<int64_t>(), stride = matrix.size(1), width = values.size(1), count = rows.size(0), all = matrix.size(0);
  const float* from = values.data_ptr<float>();
  float* to = matrix.data_ptr<float>() + first;
  parallel_for(width, 64, [=](int64_t begin, int64_t end) {  // columns: no two threads meet in a row
    for (int64_t r = 0; r < all; ++r) std::fill(to + r * stride + begin, to + r * stride + end, 0.0F);
    for (int64_t i = 0; i < count; ++i) {
      const float* value = from + i * width;
      float* sum = to + row[i] * stride;
      for (int64_t c = begin; c < end; ++c) sum[c] += value[c];
    }
  });
}

/// AttentionFunction over keys and values that are gathered from the rows of the same matrix.
struct SharedKeysFunction : torch::autograd::Function<SharedKeysFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& qkv, const at::Tensor& key_rows, const c10::optional<at::Tensor>& bias,
                            const c10::optional<at::Tensor>& delta, const c10::intrusive_ptr<Plan>& plan) {
    const at::Tensor kv = gather_rows(qkv, key_rows, plan->layout.dim(), 2 * plan->layout.kv_dim());
    at::Tensor kept;
    at::Tensor out = forward_fast(qkv, kv, *plan, &kept);
    context->save_for_backward({qkv, key_rows, kv, kept});
    context->saved_data["plan"] = c10::IValue::make_capsule(plan);
    static_cast<void>(bias);
    static_cast<void>(delta);
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto capsule = context->saved_data["plan"].toCapsule();
    const Plan& plan = *static_cast<const Plan*>(capsule.get());
    at::Tensor grad_qkv = at::empty_like(saved[0]), grad_kv = at::empty_like(saved[2]);
    const at::Tensor polynomial = backward_fast(plan, saved[0], saved[2], saved[3], grads[0].contiguous(), grad_qkv, grad_kv);
    scatter_rows(grad_kv, saved[1], plan.layout.dim(), grad_qkv);
    if (plan.polynomial.degree == 0) return {grad_qkv, {}, {}, {}, {}};
    return {grad_qkv, {}, polynomial.select(1, 0), polynomial.select(1, 1), {}};
  }
};

/// Row numbers of the padded matrix [sequences, longest], 0 where there is padding, and where that is.
struct Padding {
  at::Tensor rows;     ///< [B * T] int64
  at::Tensor present;  ///< [B, T] bool
  int64_t longest = 0;
};

Padding pad(const Spans& spans, at::Device device) {
  Padding padding;
  for (const int64_t length : spans.length) padding.longest = std::max(padding.longest, length);
  padding.rows = at::zeros({spans.count(), padding.longest}, at::kLong);
  padding.present = at::zeros({spans.count(), padding.longest}, at::kBool);
  auto* rows = padding.rows.data_ptr<int64_t>();
  auto* present = padding.present.data_ptr<bool>();
  for (int64_t s = 0; s < spans.count(); ++s) {
    for (int64_t t = 0; t < spans.length[static_cast<size_t>(s)]; ++t) {
      rows[s * padding.longest + t] = spans.begin[static_cast<size_t>(s)] + t;
      present[s * padding.longest + t] = true;
    }
  }
  padding.rows = padding.rows.view({-1}).to(device);
  padding.present = padding.present.to(device);
  return padding;
}

/// [sequences, 1, queries, keys]: what a query must not see: padding, and the future when attention is causal.
at::Tensor hidden_keys(const Plan& plan, const Padding& q_padding, const Padding& k_padding) {
  const int64_t sequences = plan.q.count();
  const at::Tensor absent = k_padding.present.logical_not().view({sequences, 1, 1, k_padding.longest});
  if (!plan.causal) return absent;
  std::vector<int64_t> offsets;
  for (size_t s = 0; s < plan.q.length.size(); ++s) offsets.push_back(plan.k.length[s] - plan.q.length[s]);
  const at::TensorOptions options = absent.options().dtype(at::kLong);
  const at::Tensor last = at::arange(q_padding.longest, options).view({1, 1, q_padding.longest, 1}) +
                          at::tensor(offsets, at::kLong).to(absent.device()).view({sequences, 1, 1, 1});
  const at::Tensor keys = at::arange(k_padding.longest, options).view({1, 1, 1, k_padding.longest});
  const at::Tensor hidden = absent.logical_or(keys > last);
  return plan.window > 0 ? hidden.logical_or(keys <= last - plan.window) : hidden;
}

/// The same function by LibTorch's operators, for other devices and types: pads, multiplies, unpads.
at::Tensor attention_general(const at::Tensor& q_matrix, const at::Tensor& kv_matrix, const Plan& plan) {
  const Padding q_padding = pad(plan.q, q_matrix.device()), k_padding = pad(plan.k, q_matrix.device());
  const int64_t sequences = plan.q.count(), dim = plan.layout.dim(), head_dim = plan.layout.head_dim;
  const auto heads_of = [&](const at::Tensor& matrix, int64_t column, int64_t heads, const Padding& padding) {
    // Zeros, and not whatever the first row holds, where there is no token.
    return matrix.narrow(1, column, heads * head_dim)
        .index_select(0, padding.rows)
        .masked_fill(padding.present.logical_not().view({-1, 1}), 0)
        .view({sequences, padding.longest, heads, head_dim})
        .transpose(1, 2);
  };
  const auto shared = [&](int64_t column) {
    const at::Tensor heads = heads_of(kv_matrix, column, plan.layout.kv_heads, k_padding);
    return plan.layout.group() > 1 ? heads.repeat_interleave(plan.layout.group(), 1) : heads;
  };
  const at::Tensor q = heads_of(q_matrix, plan.layout.q_column, plan.layout.heads, q_padding);
  const at::Tensor k = shared(plan.layout.k_column), v = shared(plan.layout.v_column);
  const at::Tensor scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(static_cast<double>(head_dim));
  const at::Tensor hidden = hidden_keys(plan, q_padding, k_padding);
  at::Tensor weights;
  if (plan.polynomial.degree > 0) {
    const auto by_head = [&](const at::Tensor& numbers) { return numbers.view({1, plan.layout.heads, 1, 1}); };
    const at::Tensor raised = at::pow(at::relu(scores + by_head(plan.polynomial.bias)), plan.polynomial.degree) + by_head(plan.polynomial.delta).abs();
    // What is hidden weighs nothing, |delta| neither; all weights may be zeros.
    const at::Tensor seen = raised.masked_fill(hidden, 0), sum = seen.sum(-1, true);
    weights = seen / sum.masked_fill(sum == 0, 1);
  } else {
    // A query that sees nothing gives zeros: the second fill is for it.
    weights = at::softmax(scores.masked_fill(hidden, -std::numeric_limits<double>::infinity()), -1).masked_fill(hidden, 0);
  }
  if (plan.mask.probability > 0) weights = dropout_general(weights, plan.mask);
  const at::Tensor padded = at::matmul(weights, v).transpose(1, 2).reshape({-1, dim});
  return padded.index_select(0, at::nonzero(q_padding.present.view({-1})).view({-1}));
}

/// Sequences one after another that take up all rows: then every row of a gradient is written, and once.
bool is_packed(const Spans& spans, int64_t rows) {
  int64_t next = 0;
  for (size_t s = 0; s < spans.begin.size(); ++s) {
    if (spans.begin[s] != next) return false;
    next += spans.length[s];
  }
  return next == rows;
}

/// CutScores while several threads count.
struct CutCounters {
  std::atomic<bool> on{false};
  std::atomic<int64_t> scores{0}, cut{0}, queries{0}, blind{0};
} cut_counters;

/// Without delta, what is cut off weighs exactly nothing.
void count_cut(const at::Tensor& q_matrix, const at::Tensor& kv_matrix, const Plan& plan) {
  const auto here = [](const at::Tensor& x) { return x.detach().to(at::kCPU, at::kFloat).contiguous(); };
  Plan bare = plan;
  bare.mask = {};
  bare.polynomial = {plan.polynomial.degree, here(plan.polynomial.bias), at::zeros({plan.layout.heads})};
  at::Tensor kept;
  forward_fast(here(q_matrix), here(kv_matrix), bare, &kept);
  const float* weights = kept.data_ptr<float>();
  CutScores sum;
  for (size_t s = 0; s < plan.q.length.size(); ++s) {
    const int64_t queries = plan.q.length[s], keys = plan.k.length[s];
    for (int64_t row = 0; row < plan.layout.heads * queries; ++row, weights += keys) {
      const int64_t end = plan.causal ? std::clamp<int64_t>(row % queries + 1 + keys - queries, 0, keys) : keys;
      const int64_t begin = plan.window > 0 ? std::max<int64_t>(0, end - plan.window) : 0;
      const int64_t cut = std::count(weights + begin, weights + end, 0.0F);
      sum.scores += end - begin;
      sum.cut += cut;
      sum.queries += end > begin;
      sum.blind += end > begin && cut == end - begin;
    }
  }
  cut_counters.scores += sum.scores;
  cut_counters.cut += sum.cut;
  cut_counters.queries += sum.queries;
  cut_counters.blind += sum.blind;
}

c10::intrusive_ptr<Plan> make_plan(const Spans& q_spans, const Spans& kv_spans, const Layout& layout, const AttentionSettings& settings) {
  auto plan = c10::make_intrusive<Plan>();
  plan->layout = layout;
  plan->q = q_spans;
  plan->k = kv_spans;
  plan->causal = settings.causal;
  // A window that no query looks beyond is none.
  const bool reaches = std::any_of(kv_spans.length.begin(), kv_spans.length.end(), [&](int64_t length) { return length > settings.window; });
  plan->window = settings.causal && reaches ? settings.window : 0;
  plan->mask = next_mask(settings.stream, settings.dropout);
  plan->polynomial = settings.polynomial;
  plan->weights_offset = weight_offsets(q_spans, kv_spans, layout.heads);
  return plan;
}

/// Whether a backward pass may follow.
bool records(const at::Tensor& q_matrix, const at::Tensor& kv_matrix, const Polynomial& polynomial) {
  const bool learns_polynomial = polynomial.degree > 0 && (polynomial.bias.requires_grad() || polynomial.delta.requires_grad());
  return at::GradMode::is_enabled() && (q_matrix.requires_grad() || kv_matrix.requires_grad() || learns_polynomial);
}

void check_weights(const Plan& plan, bool kept) {
  if ((kept || plan.mask.probability > 0) && plan.weights_offset.back() > (int64_t{1} << 32)) {
    fail("a batch needs more than 2^32 attention weights; its longest sequence has {} tokens: leave such out, or lower --batch-tokens or --window",
         *std::max_element(plan.k.length.begin(), plan.k.length.end()));
  }
}

at::Tensor attend(const at::Tensor& q_matrix, const Spans& q_spans, const at::Tensor& kv_matrix, const Spans& kv_spans,
                  const Layout& layout, const AttentionSettings& settings) {
  const auto plan = make_plan(q_spans, kv_spans, layout, settings);
  const Polynomial& polynomial = settings.polynomial;
  const bool recorded = records(q_matrix, kv_matrix, polynomial);
  if (cut_counters.on && !recorded && polynomial.degree > 0) count_cut(q_matrix, kv_matrix, *plan);
  if (!is_fast(q_matrix) || !is_fast(kv_matrix) || plan->window > 0 || (recorded && !is_packed(kv_spans, kv_matrix.size(0)))) {
    return attention_general(q_matrix, kv_matrix, *plan);
  }
  check_weights(*plan, recorded);
  if (recorded) return AttentionFunction::apply(q_matrix, kv_matrix, optional(polynomial.bias), optional(polynomial.delta), plan);
  return forward_fast(q_matrix, kv_matrix, *plan, nullptr);
}

Layout layout_of(const AttentionSettings& settings) {
  Layout layout;
  layout.heads = settings.heads;
  layout.kv_heads = settings.kv_heads > 0 ? settings.kv_heads : settings.heads;
  return layout;
}

}  // namespace

CutScoreWatch::CutScoreWatch() {
  cut_counters.scores = cut_counters.cut = cut_counters.queries = cut_counters.blind = 0;
  cut_counters.on = true;
}

CutScoreWatch::~CutScoreWatch() { cut_counters.on = false; }

CutScores CutScoreWatch::counts() const { return {cut_counters.scores, cut_counters.cut, cut_counters.queries, cut_counters.blind}; }

int64_t Spans::rows() const { return std::accumulate(length.begin(), length.end(), int64_t{0}); }

Spans Spans::packed(std::vector<int64_t> lengths) {
  Spans spans;
  int64_t row = 0;
  for (const int64_t length : lengths) {
    spans.begin.push_back(row);
    row += length;
  }
  spans.length = std::move(lengths);
  return spans;
}

at::Tensor self_attention(const at::Tensor& qkv, const Spans& spans, const AttentionSettings& settings) {
  Layout layout = layout_of(settings);
  layout.head_dim = qkv.size(1) / (layout.heads + 2 * layout.kv_heads);
  layout.shared = true;
  layout.k_column = layout.dim();
  layout.v_column = layout.dim() + layout.kv_dim();
  return attend(qkv, spans, qkv, spans, layout, settings);
}

at::Tensor self_attention(const at::Tensor& qkv, const Spans& spans, const at::Tensor& key_rows, const Spans& key_spans, const AttentionSettings& settings) {
  Layout layout = layout_of(settings);
  layout.head_dim = qkv.size(1) / (layout.heads + 2 * layout.kv_heads);
  layout.v_column = layout.kv_dim();
  const int64_t width = 2 * layout.kv_dim();
  if (!is_fast(qkv) || !key_rows.device().is_cpu() || settings.window > 0) {
    return attend(qkv.narrow(1, 0, layout.dim()).contiguous(), spans, qkv.narrow(1, layout.dim(), width).index_select(0, key_rows), key_spans, layout, settings);
  }
  if (!records(qkv, qkv, settings.polynomial)) return attend(qkv, spans, gather_rows(qkv, key_rows, layout.dim(), width), key_spans, layout, settings);
  const auto plan = make_plan(spans, key_spans, layout, settings);
  check_weights(*plan, true);
  return SharedKeysFunction::apply(qkv, key_rows, optional(settings.polynomial.bias), optional(settings.polynomial.delta), plan);
}

at::Tensor cross_attention(const at::Tensor& q, const Spans& q_spans, const at::Tensor& kv, const Spans& kv_spans,
                           const AttentionSettings& settings) {
  Layout layout = layout_of(settings);
  layout.head_dim = q.size(1) / layout.heads;
  layout.v_column = layout.kv_dim();
  return attend(q, q_spans, kv, kv_spans, layout, settings);
}

}  // namespace seqmill::tensor
