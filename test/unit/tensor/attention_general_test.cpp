// Attention by LibTorch's operators, which other types and devices take, in the cases where padding and masks matter.
#include "tensor/attention.h"

#include "tensors.h"

using namespace seqmill;
using namespace seqmill::tensor;
using namespace seqmill::test;

namespace {

/// Attention of one sequence by its definition; a query that sees nothing gives zeros.
at::Tensor by_definition(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads, bool causal) {
  const int64_t queries = q.size(0), keys = k.size(0), dim = q.size(1) / heads;
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t visible = causal ? std::min(std::max<int64_t>(0, i + 1 + keys - queries), keys) : keys;
    std::vector<at::Tensor> parts;
    for (int64_t h = 0; h < heads; ++h) {
      const auto head = [&](const at::Tensor& x, int64_t count) { return x.narrow(0, 0, count).narrow(1, h * dim, dim); };
      const at::Tensor query = q.narrow(0, i, 1).narrow(1, h * dim, dim);
      parts.push_back(visible == 0 ? at::zeros_like(query)
                                   : at::softmax(query.mm(head(k, visible).t()) / std::sqrt(static_cast<double>(dim)), 1)
                                         .mm(head(v, visible)));
    }
    rows.push_back(at::cat(parts, 1));
  }
  return at::cat(rows, 0);
}

at::Tensor one_by_one(const at::Tensor& q, const Spans& queries, const at::Tensor& kv, const Spans& keys, int64_t heads, bool causal) {
  const int64_t dim = q.size(1);
  std::vector<at::Tensor> parts;
  for (size_t s = 0; s < queries.length.size(); ++s) {
    const at::Tensor rows = kv.narrow(0, keys.begin[s], keys.length[s]);
    parts.push_back(by_definition(q.narrow(0, queries.begin[s], queries.length[s]), rows.narrow(1, 0, dim), rows.narrow(1, dim, dim),
                                  heads, causal));
  }
  return at::cat(parts, 0);
}

}  // namespace

TEST_CASE("the last query sees the last key, whatever the lengths", "[attention]") {
  const Spans queries = Spans::packed({2, 1, 3, 3}), keys = Spans::packed({5, 4, 3, 1});
  for (const auto type : {at::kFloat, at::kDouble}) {
    const at::Tensor q = normals({9, 8}, 1, type), kv = normals({13, 16}, 2, type);
    CHECK(difference(cross_attention(q, queries, kv, keys, {2, true, 0, nullptr}), one_by_one(q, queries, kv, keys, 2, true)) < 2e-6);
  }
}

TEST_CASE("NaN in one sequence stays in it", "[attention]") {
  const Spans spans = Spans::packed({3, 1, 7, 2, 4});
  for (const auto type : {at::kFloat, at::kDouble}) {
    at::Tensor qkv = normals({17, 36}, 1, type);
    qkv.select(0, 0).fill_(NAN);
    const at::Tensor out = self_attention(qkv, spans, {3, false, 0, nullptr});
    CHECK(out.narrow(0, 0, 3).isnan().all().item<bool>());
    CHECK_FALSE(out.narrow(0, 3, 14).isnan().any().item<bool>());
    at::Tensor kv = normals({6, 16}, 2, type);
    kv.select(0, 0).fill_(NAN);
    const at::Tensor q = normals({2, 8}, 1, type);
    CHECK_FALSE(cross_attention(q, Spans::packed({1, 1}), kv, {{1, 3}, {2, 3}}, {2, false, 0, nullptr}).isnan().any().item<bool>());
  }
}

TEST_CASE("a sequence without keys gives zeros", "[attention]") {
  for (const auto type : {at::kFloat, at::kDouble}) {
    const at::Tensor q = leaf(normals({2, 8}, 1), type), kv = leaf(normals({3, 16}, 2), type);
    const at::Tensor out = cross_attention(q, Spans::packed({1, 1}), kv, Spans::packed({3, 0}), {2, false, 0, nullptr});
    CHECK(out.select(0, 1).abs().max().item<double>() == 0);
    out.square().sum().backward();
    CHECK(q.grad().select(0, 1).abs().max().item<double>() == 0);
    CHECK_FALSE(kv.grad().isnan().any().item<bool>());
  }
}

TEST_CASE("gradients of keys that are shared or left out", "[attention]") {
  const Spans queries = Spans::packed({1, 1, 2, 1});
  const Spans keys{{2, 4, 2, 9}, {4, 3, 1, 2}};
  const at::Tensor q = leaf(normals({5, 8}, 1)), kv = leaf(normals({12, 16}, 2)), kv_double = leaf(kv, at::kDouble);
  cross_attention(q, queries, kv, keys, {2, false, 0, nullptr}).square().sum().backward();
  one_by_one(q.detach().to(at::kDouble), queries, kv_double, keys, 2, false).square().sum().backward();
  CHECK(difference(kv.grad(), kv_double.grad()) < 1e-5);
}
