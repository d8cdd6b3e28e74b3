#include "tensor/attention.h"

#include "base/threads.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::test;
using tensor::AttentionSettings;
using tensor::DropoutStream;
using tensor::Spans;

namespace {

/// Sequence by sequence and head by head. `factors`: what each attention weight is multiplied by, in the order sequence,
/// head, query, key; undefined: nothing.
at::Tensor one_by_one(const at::Tensor& q, const Spans& q_spans, const at::Tensor& k, const at::Tensor& v,
                      const Spans& k_spans, const AttentionSettings& settings, const at::Tensor& factors = {}) {
  const int64_t dim = q.size(1) / settings.heads;
  std::vector<at::Tensor> sequences;
  int64_t offset = 0;
  for (size_t s = 0; s < q_spans.length.size(); ++s) {
    std::vector<at::Tensor> heads;
    const int64_t queries = q_spans.length[s], keys = k_spans.length[s];
    for (int64_t h = 0; h < settings.heads; ++h) {
      const auto part = [&](const at::Tensor& x, const Spans& spans) {
        return x.narrow(0, spans.begin[s], spans.length[s]).narrow(1, h * dim, dim);
      };
      at::Tensor scores = at::matmul(part(q, q_spans), part(k, k_spans).t()) / std::sqrt(static_cast<double>(dim));
      if (settings.causal) {
        scores = scores.masked_fill(at::ones({queries, keys}, at::kBool).triu(1 + keys - queries), -INFINITY);
      }
      at::Tensor weights;
      if (const tensor::Polynomial& polynomial = settings.polynomial; polynomial.degree > 0) {
        weights = at::pow(at::relu(scores + polynomial.bias[h]), polynomial.degree) + polynomial.delta[h].abs();
        if (settings.causal) weights = weights * at::ones({queries, keys}, at::kDouble).tril(keys - queries);
        weights = weights / weights.sum(1, true);
      } else {
        weights = at::softmax(scores, 1);
      }
      if (factors.defined()) weights = weights * factors.narrow(0, offset, queries * keys).view({queries, keys});
      offset += queries * keys;
      heads.push_back(at::matmul(weights, part(v, k_spans)));
    }
    sequences.push_back(at::cat(heads, 1));
  }
  return at::cat(sequences, 0);
}

at::Tensor self_one_by_one(const at::Tensor& qkv, const Spans& spans, const AttentionSettings& settings,
                           const at::Tensor& factors = {}) {
  const int64_t dim = qkv.size(1) / 3;
  return one_by_one(qkv.narrow(1, 0, dim), spans, qkv.narrow(1, dim, dim), qkv.narrow(1, 2 * dim, dim), spans, settings,
                    factors);
}

at::Tensor cross_one_by_one(const at::Tensor& q, const Spans& q_spans, const at::Tensor& kv, const Spans& kv_spans,
                            const AttentionSettings& settings, const at::Tensor& factors = {}) {
  const int64_t dim = q.size(1);
  return one_by_one(q, q_spans, kv.narrow(1, 0, dim), kv.narrow(1, dim, dim), kv_spans, settings, factors);
}

/// The first mask that `stream` gives.
at::Tensor factors_of(DropoutStream stream, double probability, int64_t count) {
  return tensor::dropout(at::ones({count}), probability, &stream).to(at::kDouble);
}

const Spans kSpans = Spans::packed({3, 1, 7, 2, 4});
const Spans kOther = Spans::packed({5, 2, 1, 1, 6});

}  // namespace

TEST_CASE("packed spans follow each other", "[attention]") {
  CHECK(kSpans.begin == std::vector<int64_t>{0, 3, 4, 11, 13});
  CHECK(kSpans.length == std::vector<int64_t>{3, 1, 7, 2, 4});
  CHECK(kSpans.rows() == 17);
  CHECK(kSpans.count() == 5);
  CHECK(Spans::packed({}).rows() == 0);
}

TEST_CASE("self-attention and its gradients, fast and general", "[attention]") {
  const at::Tensor upper = normals({17, 24}, 2);
  for (const bool causal : {false, true}) {
    for (const int64_t heads : {1, 2, 6}) {
      CAPTURE(causal, heads);
      const AttentionSettings settings{heads, causal, 0, nullptr};
      const at::Tensor expected = leaf(normals({17, 72}, 1), at::kDouble);
      const at::Tensor wanted = self_one_by_one(expected, kSpans, settings);
      (wanted * upper).sum().backward();
      for (const auto type : {at::kFloat, at::kDouble}) {
        const double tolerance = type == at::kFloat ? 2e-6 : 1e-12;
        const at::Tensor qkv = leaf(normals({17, 72}, 1), type);
        const at::Tensor out = tensor::self_attention(qkv, kSpans, settings);
        CHECK(difference(out, wanted) < tolerance);
        (out * upper).sum().backward();
        CHECK(difference(qkv.grad(), expected.grad()) < 5 * tolerance);
        at::NoGradGuard no_grad;
        CHECK(difference(tensor::self_attention(qkv, kSpans, settings), wanted) < tolerance);
      }
    }
  }
}

TEST_CASE("cross-attention and its gradients, fast and general", "[attention]") {
  const at::Tensor upper = normals({17, 8}, 3);
  const AttentionSettings settings{2, false, 0, nullptr};
  const at::Tensor q0 = leaf(normals({17, 8}, 1), at::kDouble), kv0 = leaf(normals({15, 16}, 2), at::kDouble);
  const at::Tensor wanted = cross_one_by_one(q0, kSpans, kv0, kOther, settings);
  (wanted * upper).sum().backward();
  for (const auto type : {at::kFloat, at::kDouble}) {
    const double tolerance = type == at::kFloat ? 2e-6 : 1e-12;
    const at::Tensor q = leaf(q0, type), kv = leaf(kv0, type);
    const at::Tensor out = tensor::cross_attention(q, kSpans, kv, kOther, settings);
    CHECK(difference(out, wanted) < tolerance);
    (out.t() * upper.t()).sum().backward();
    CHECK(difference(q.grad(), q0.grad()) < 5 * tolerance);
    CHECK(difference(kv.grad(), kv0.grad()) < 5 * tolerance);
  }
  const at::Tensor q = leaf(q0), kv = leaf(kv0);
  (tensor::cross_attention(q, kSpans, kv.detach(), kOther, settings) * upper).sum().backward();
  (tensor::cross_attention(q.detach(), kSpans, kv, kOther, settings) * upper).sum().backward();
  CHECK(difference(q.grad(), q0.grad()) < 1e-5);
  CHECK(difference(kv.grad(), kv0.grad()) < 1e-5);
}

TEST_CASE("polynomial attention and its gradients, fast and general", "[attention][polynomial]") {
  const at::Tensor upper = normals({17, 24}, 2), bias = normals({3}, 4) * 0.5 + 0.5, delta = normals({3}, 5) * 0.1;
  for (const bool causal : {false, true}) {
    for (const int64_t degree : {1, 3}) {
      CAPTURE(causal, degree);
      const auto settings = [&](at::ScalarType type) {
        return AttentionSettings{3, causal, 0, nullptr, {degree, leaf(bias, type), leaf(delta, type)}};
      };
      const AttentionSettings exact = settings(at::kDouble);
      const at::Tensor expected = leaf(normals({17, 72}, 1), at::kDouble);
      const at::Tensor wanted = self_one_by_one(expected, kSpans, exact);
      (wanted * upper).sum().backward();
      for (const auto type : {at::kFloat, at::kDouble}) {
        const double tolerance = type == at::kFloat ? 5e-6 : 1e-12;
        const AttentionSettings typed = settings(type);
        const at::Tensor qkv = leaf(normals({17, 72}, 1), type);
        const at::Tensor out = tensor::self_attention(qkv, kSpans, typed);
        CHECK(difference(out, wanted) < tolerance);
        (out * upper).sum().backward();
        CHECK(difference(qkv.grad(), expected.grad()) < 5 * tolerance);
        CHECK(difference(typed.polynomial.bias.grad(), exact.polynomial.bias.grad()) < 10 * tolerance);
        CHECK(difference(typed.polynomial.delta.grad(), exact.polynomial.delta.grad()) < 50 * tolerance);
        at::NoGradGuard no_grad;
        CHECK(difference(tensor::self_attention(qkv, kSpans, typed), wanted) < tolerance);
      }
      // Weights alone may learn, too.
      const AttentionSettings typed = settings(at::kFloat);
      (tensor::self_attention(normals({17, 72}, 1), kSpans, typed) * upper).sum().backward();
      CHECK(difference(typed.polynomial.bias.grad(), exact.polynomial.bias.grad()) < 1e-4);
    }
  }
}

TEST_CASE("scores that polynomial attention cuts off are counted while they are watched", "[attention][polynomial]") {
  // One head of width 4 over three tokens: every score is q k / 2.
  const at::Tensor q = at::tensor({2.0F, -2.0F, 0.0F}).view({3, 1}) * at::ones({1, 4}), k = at::tensor({1.0F, -1.0F, 3.0F}).view({3, 1}) * at::ones({1, 4});
  const at::Tensor qkv = at::cat({q, k, at::ones({3, 4})}, 1);
  AttentionSettings settings;
  settings.polynomial = {3, at::tensor({-1.0F}), at::tensor({0.01F})};
  const Spans spans = Spans::packed({3});
  const auto counts_of = [&](const at::Tensor& matrix) {
    const tensor::CutScoreWatch watch;
    tensor::self_attention(matrix, spans, settings);
    return watch.counts();
  };
  // Scores less 1: {3, -5, 11}, {-5, 3, -13}, {-1, -1, -1}.
  for (const auto type : {at::kFloat, at::kDouble}) {
    settings.causal = false;
    tensor::CutScores counts = counts_of(qkv.to(type));
    CHECK(counts.scores == 9);
    CHECK(counts.cut == 6);
    CHECK(counts.queries == 3);
    CHECK(counts.blind == 1);
    settings.causal = true;  // {3}, {-5, 3}, {-1, -1, -1}
    counts = counts_of(qkv.to(type));
    CHECK(counts.scores == 6);
    CHECK(counts.cut == 4);
    CHECK(counts.blind == 1);
    settings.window = 1;  // {3}, {3}, {-1}
    counts = counts_of(qkv.to(type));
    CHECK(counts.scores == 3);
    CHECK(counts.cut == 1);
    CHECK(counts.blind == 1);
    settings.window = 0;
  }
  const tensor::CutScoreWatch watch;
  settings.polynomial.degree = 0;
  tensor::self_attention(qkv, spans, settings);
  CHECK(watch.counts().scores == 0);
}

TEST_CASE("the last query of a causal attention over more keys sees all of them", "[attention]") {
  const Spans queries = Spans::packed({2, 1, 3}), keys = Spans::packed({5, 4, 3});
  const at::Tensor q = normals({6, 8}, 1), kv = normals({12, 16}, 2);
  const AttentionSettings settings{2, true, 0, nullptr};
  CHECK(difference(tensor::cross_attention(q, queries, kv, keys, settings),
                   cross_one_by_one(q, queries, kv, keys, settings)) < 2e-6);
}

TEST_CASE("dropout of the attention weights draws one mask for both passes", "[attention]") {
  const at::Tensor upper = normals({17, 12}, 2);
  for (const bool causal : {false, true}) {
    DropoutStream stream(5, 6);
    const int64_t weights = 3 * (9 + 1 + 49 + 4 + 16);
    const at::Tensor factors = factors_of(stream, 0.3, weights);
    const AttentionSettings settings{3, causal, 0.3, &stream};
    const at::Tensor qkv = leaf(normals({17, 36}, 1)), expected = leaf(qkv, at::kDouble);
    const at::Tensor wanted = self_one_by_one(expected, kSpans, settings, factors);
    const at::Tensor out = tensor::self_attention(qkv, kSpans, settings);
    CHECK(difference(out, wanted) < 2e-6);
    (out * upper).sum().backward();
    (wanted * upper).sum().backward();
    CHECK(difference(qkv.grad(), expected.grad()) < 1e-5);
    CHECK(difference(tensor::self_attention(qkv, kSpans, settings), out) > 0.01);  // the next mask
  }
}

TEST_CASE("no stream or no rate: no dropout", "[attention]") {
  const at::Tensor qkv = normals({17, 12}, 1);
  DropoutStream stream(1, 1);
  const at::Tensor out = tensor::self_attention(qkv, kSpans, {2, true, 0, nullptr});
  CHECK(same_bits(tensor::self_attention(qkv, kSpans, {2, true, 0.5, nullptr}), out));
  CHECK(same_bits(tensor::self_attention(qkv, kSpans, {2, true, 0, &stream}), out));
}

TEST_CASE("the gradients of attention by finite differences", "[attention]") {
  const at::Tensor q = leaf(normals({17, 6}, 1)), kv = leaf(normals({15, 12}, 2));
  const auto value = [&] {
    DropoutStream stream(3, 4);
    const AttentionSettings settings{2, false, 0.2, &stream};
    return at::tanh(tensor::cross_attention(q, kSpans, kv, kOther, settings).to(at::kDouble)).square().sum();
  };
  value().backward();
  check_gradient(q, [&] { return value().item<double>(); });
  check_gradient(kv, [&] { return value().item<double>(); });
}

TEST_CASE("a sequence does not depend on its batch nor on the threads", "[attention]") {
  const Spans spans = Spans::packed({40, 7, 64, 33, 50});
  const at::Tensor values = normals({194, 192}, 1), upper = normals({194, 64}, 2);
  const auto run = [&](int threads) {
    set_threads(threads);
    DropoutStream stream(1, 1);
    const at::Tensor qkv = leaf(values);
    const at::Tensor out = tensor::self_attention(qkv, spans, {4, true, 0.1, &stream});
    (out * upper).sum().backward();
    set_threads(0);
    return std::pair(out, qkv.grad());
  };
  const auto alone = run(1), together = run(3);
  CHECK(same_bits(alone.first, together.first));
  CHECK(same_bits(alone.second, together.second));

  const at::Tensor batch = tensor::self_attention(values, spans, {4, true, 0, nullptr});
  for (size_t s = 0; s < 5; ++s) {
    const at::Tensor rows = values.narrow(0, spans.begin[s], spans.length[s]);
    CHECK(same_bits(tensor::self_attention(rows, Spans::packed({spans.length[s]}), {4, true, 0, nullptr}),
                    batch.narrow(0, spans.begin[s], spans.length[s])));
  }
}

TEST_CASE("NaN stays in its sequence and behind the causal mask", "[attention]") {
  const at::Tensor clean = normals({17, 36}, 1), upper = normals({17, 12}, 2);
  const auto run = [&](const at::Tensor& values) {
    const at::Tensor qkv = leaf(values);
    const at::Tensor out = tensor::self_attention(qkv, kSpans, {3, true, 0, nullptr});
    (out * upper).sum().backward();
    return std::pair(out, qkv.grad());
  };
  const auto expected = run(clean);
  for (const int64_t row : {0, 3, 8}) {
    CAPTURE(row);
    at::Tensor poisoned = clean.clone();
    poisoned.select(0, row).fill_(NAN);
    const auto [out, grad] = run(poisoned);
    const int64_t last = row == 0 ? 2 : row == 3 ? 3 : 10;  // of its sequence
    for (int64_t r = 0; r < 17; ++r) {
      const bool reached = r >= row && r <= last;
      REQUIRE(out.select(0, r).isnan().any().item<bool>() == reached);
      if (!reached) REQUIRE(same_bits(out.select(0, r), expected.first.select(0, r)));
    }
    CHECK(same_bits(grad.narrow(0, 11, 6), expected.second.narrow(0, 11, 6)));
  }
}

TEST_CASE("key spans may overlap and leave out rows that hold anything", "[attention]") {
  at::NoGradGuard no_grad;
  const Spans queries = Spans::packed({1, 1, 2, 1});
  const Spans keys{{2, 4, 2, 9}, {4, 3, 1, 2}};
  for (const auto type : {at::kFloat, at::kDouble}) {
    const at::Tensor q = normals({5, 8}, 1, type);
    at::Tensor kv = normals({12, 16}, 2, type);
    const at::Tensor wanted = cross_one_by_one(q, queries, kv, keys, {2, false, 0, nullptr});
    for (const int64_t row : {1, 7, 8, 11}) kv.select(0, row).fill_(NAN);
    const at::Tensor out = tensor::cross_attention(q, queries, kv, keys, {2, false, 0, nullptr});
    CHECK(difference(out, wanted) < 2e-6);
  }
}

TEST_CASE("a step over cached keys is a row of the whole attention", "[attention]") {
  at::NoGradGuard no_grad;
  const at::Tensor qkv = normals({17, 24}, 1);
  const at::Tensor whole = tensor::self_attention(qkv, kSpans, {2, true, 0, nullptr});
  const at::Tensor q = qkv.narrow(1, 0, 8).contiguous(), kv = qkv.narrow(1, 8, 16).contiguous();
  for (int64_t step = 0; step < 7; ++step) {
    const at::Tensor out = tensor::cross_attention(q.narrow(0, 4 + step, 1), Spans::packed({1}), kv, {{4}, {step + 1}},
                                                   {2, false, 0, nullptr});
    CHECK(difference(out, whole.narrow(0, 4 + step, 1)) < 1e-6);
  }
}

namespace {

/// Keys and values of kv_heads heads, repeated so that each head has its own.
at::Tensor repeated(const at::Tensor& x, int64_t kv_heads, int64_t group) {
  return x.view({x.size(0), kv_heads, -1}).repeat_interleave(group, 1).reshape({x.size(0), -1});
}

}  // namespace

TEST_CASE("heads that share keys and values, and their gradients, fast and general", "[attention]") {
  constexpr int64_t kDim = 5;
  for (const auto& [heads, kv_heads] : std::vector<std::pair<int64_t, int64_t>>{{4, 2}, {6, 1}, {6, 3}}) {
    for (const bool causal : {false, true}) {
      CAPTURE(heads, kv_heads, causal);
      AttentionSettings settings{heads, causal, 0, nullptr};
      settings.kv_heads = kv_heads;
      const int64_t width = (heads + 2 * kv_heads) * kDim;
      const at::Tensor upper = normals({17, heads * kDim}, 2), exact = leaf(normals({17, width}, 1), at::kDouble);
      const auto part = [&](int64_t first, int64_t count) { return exact.narrow(1, first * kDim, count * kDim); };
      const at::Tensor wanted = one_by_one(part(0, heads), kSpans, repeated(part(heads, kv_heads), kv_heads, heads / kv_heads),
                                           repeated(part(heads + kv_heads, kv_heads), kv_heads, heads / kv_heads), kSpans, {heads, causal, 0, nullptr});
      (wanted * upper).sum().backward();
      for (const auto type : {at::kFloat, at::kDouble}) {
        const double tolerance = type == at::kFloat ? 3e-6 : 1e-12;
        const at::Tensor qkv = leaf(normals({17, width}, 1), type);
        const at::Tensor out = tensor::self_attention(qkv, kSpans, settings);
        CHECK(difference(out, wanted) < tolerance);
        (out * upper.to(type)).sum().backward();
        CHECK(relative(qkv.grad(), exact.grad()) < tolerance);
      }
    }
  }
}

TEST_CASE("a window hides what lies before it, and its gradient is that of the mask", "[attention]") {
  for (const int64_t window : {1, 3, 7, 100}) {
    CAPTURE(window);
    AttentionSettings settings{2, true, 0, nullptr};
    settings.window = window;
    const at::Tensor upper = normals({17, 8}, 2), qkv = leaf(normals({17, 24}, 1)), exact = leaf(normals({17, 24}, 1), at::kDouble);
    std::vector<at::Tensor> rows;
    // Each query alone over the keys of its window.
    for (size_t s = 0; s < kSpans.length.size(); ++s) {
      for (int64_t i = 0; i < kSpans.length[s]; ++i) {
        const int64_t first = std::max<int64_t>(0, i + 1 - window), row = kSpans.begin[s] + i;
        Spans query, keys;
        query.begin.push_back(row);
        query.length.push_back(1);
        keys.begin.push_back(kSpans.begin[s] + first);
        keys.length.push_back(i + 1 - first);
        rows.push_back(one_by_one(exact.narrow(1, 0, 8), query, exact.narrow(1, 8, 8), exact.narrow(1, 16, 8), keys, {2, false, 0, nullptr}));
      }
    }
    const at::Tensor wanted = at::cat(rows, 0), out = tensor::self_attention(qkv, kSpans, settings);
    CHECK(difference(out, wanted) < 3e-6);
    (wanted * upper).sum().backward();
    (out * upper).sum().backward();
    CHECK(relative(qkv.grad(), exact.grad()) < 3e-6);
  }
}
