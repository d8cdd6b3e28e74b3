#include "nn/layers.h"

#include "support/files.h"
#include "unit/tensor/tensors.h"

using namespace seqmill;
using namespace seqmill::nn;
using namespace seqmill::test;
using tensor::DropoutStream;

namespace {

void assign(const at::Tensor& parameter, const at::Tensor& value) {
  at::NoGradGuard no_grad;
  at::Tensor data = parameter;
  data.copy_(value);
}

at::Tensor row(const std::vector<float>& values) { return at::tensor(values).unsqueeze(0); }

std::vector<std::string> names_of(const Parameters& parameters) {
  std::vector<std::string> names;
  for (const Parameter& parameter : parameters.all()) names.push_back(parameter.name + (parameter.decays ? "*" : ""));
  return names;
}

using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("layers declare their parameters, and only matrices decay", "[layers]") {
  Parameters parameters(1);
  const Scope root(parameters);
  Linear(root / "plain", 3, 2, false);
  FeedForward(root / "ffn", 4, 8, "relu");
  Residual(root / "sub", 4, true, 0);
  Embedding(root / "emb", 9, 4);
  Positions(root / "pos", "learned", 4, 5);
  Positions(root / "sin", "sinusoidal", 4, 5);
  Positions(root / "rot", "rotary", 4, 5);
  CHECK(names_of(parameters) == Names{"plain.weight*", "ffn.up.weight*", "ffn.up.bias", "ffn.down.weight*", "ffn.down.bias",
                                      "sub.norm.weight", "sub.norm.bias", "emb.weight", "pos.weight"});
  CHECK(parameters.count() == 6 + 32 + 8 + 32 + 4 + 4 + 4 + 36 + 20);
}

TEST_CASE("linear by hand", "[layers]") {
  Parameters parameters(1);
  const Linear layer(Scope(parameters), 2, 3);
  CHECK_FALSE(layer.bias.any().item<bool>());
  assign(layer.weight, at::tensor({1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f}).view({3, 2}));
  assign(layer.bias, at::tensor({0.5f, 0.0f, -1.0f}));
  CHECK(difference(layer(row({10, 1})), row({12.5f, 34, 55})) == 0);
}

TEST_CASE("layer normalisation by hand", "[layers]") {
  Parameters parameters(1);
  const LayerNorm norm(Scope(parameters), 4);
  // Mean 3, variance 2.
  const double unit = 1 / std::sqrt(2 + 1e-5);
  CHECK(difference(norm(row({1, 3, 3, 5})), row({-2, 0, 0, 2}).to(at::kDouble) * unit) < 1e-6);
  assign(norm.weight, at::tensor({1.0f, 2.0f, 3.0f, 0.5f}));
  assign(norm.bias, at::tensor({0.0f, 7.0f, 0.0f, 1.0f}));
  CHECK(norm(row({1, 3, 3, 5})).select(1, 1).item<double>() == Approx(7));
  CHECK(norm(row({1, 3, 3, 5})).select(1, 3).item<double>() == Approx(1 + unit));
  CHECK(difference(norm(row({4, 4, 4, 4})), row({0, 7, 0, 1})) < 1e-6);
}

TEST_CASE("embeddings are scaled by the square root of their dimension", "[layers]") {
  Parameters parameters(1);
  const Embedding embedding(Scope(parameters), 50, 16);
  CHECK(embedding.weight.std().item<double>() == Approx(0.25).epsilon(0.1));
  const at::Tensor tokens = at::tensor({7, 0, 7}, at::kLong), out = embedding(tokens);
  CHECK(same_bits(out, embedding.weight.index_select(0, tokens) * 4));
  out.sum().backward();
  CHECK(difference(embedding.weight.grad().select(0, 7), at::full({16}, 8.0)) == 0);
  CHECK(difference(embedding.weight.grad().select(0, 1), at::zeros({16})) == 0);
}

TEST_CASE("sinusoidal positions by hand", "[positions]") {
  Parameters parameters(1);
  const Positions positions(Scope(parameters), "sinusoidal", 6, 2);
  CHECK_FALSE(positions.rotary());
  const at::Tensor x = normals({3, 6}, 1), added = positions.add_to(x, at::tensor({0, 3, 777}, at::kLong)) - x;
  const double steps[] = {0, 3, 777};
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t i = 0; i < 3; ++i) {
      const double angle = steps[r] / std::pow(10000, static_cast<double>(2 * i) / 6);
      CHECK(added[r][i].item<double>() == Approx(std::sin(angle)).margin(1e-4));
      CHECK(added[r][i + 3].item<double>() == Approx(std::cos(angle)).margin(1e-4));
    }
  }
}

TEST_CASE("learned positions are rows of a table, which ends", "[positions]") {
  Parameters parameters(1);
  const Positions positions(Scope(parameters), "learned", 4, 3);
  const at::Tensor table = parameters.all()[0].value, x = normals({3, 4}, 1), where = at::tensor({2, 0, 2}, at::kLong);
  CHECK(same_bits(positions.add_to(x, where), x + table.index_select(0, where)));
  const Failure failure = failure_of([&] { positions.add_to(x, at::tensor({0, 3, 1}, at::kLong)); });
  CHECK((failure.says("3 learned positions") && failure.says("model.max-positions")));
  CHECK(positions.add_to(at::empty({0, 4}), at::empty({0}, at::kLong)).size(0) == 0);
}

TEST_CASE("rotary positions add nothing", "[positions]") {
  Parameters parameters(1);
  const Positions positions(Scope(parameters), "rotary", 4, 3);
  const at::Tensor x = normals({2, 4}, 1);
  CHECK(positions.rotary());
  CHECK(same_bits(positions.add_to(x, at::tensor({0, 99}, at::kLong)), x));
}

TEST_CASE("feed-forward layers by hand", "[layers]") {
  for (const char* activation : {"relu", "gelu"}) {
    CAPTURE(activation);
    Parameters parameters(1);
    const FeedForward layer(Scope(parameters), 1, 3, activation);
    assign(layer.up.weight, at::tensor({1.0f, -1.0f, 2.0f}).view({3, 1}));
    assign(layer.up.bias, at::tensor({0.0f, 0.0f, -1.0f}));
    assign(layer.down.weight, row({1, 10, 100}));
    assign(layer.down.bias, at::tensor({0.5f}));
    // Before the activation: 1, -1, 1. gelu(x) = x Phi(x), Phi(1) = 0.8413447.
    const bool relu = std::string(activation) == "relu";
    const double expected = relu ? 101.5 : 101 * 0.8413447461 - 10 * 0.1586552539 + 0.5;
    CHECK(layer(row({1}), 0.5, nullptr).item<double>() == Approx(expected));
  }
}

TEST_CASE("dropout of a feed-forward layer falls on its hidden units", "[layers]") {
  Parameters parameters(1);
  const FeedForward layer(Scope(parameters), 4, 64, "relu");
  const at::Tensor x = normals({5, 4}, 1);
  DropoutStream stream(1, 1), same(1, 1);
  const at::Tensor mask = tensor::dropout(at::ones({5, 64}), 0.4, &same);
  const at::Tensor expected = layer.down(at::relu(layer.up(x)) * mask);
  CHECK(difference(layer(x, 0.4, &stream), expected) < 1e-5);
  CHECK(difference(layer(x, 0.4, nullptr), layer.down(at::relu(layer.up(x)))) < 1e-5);
}

TEST_CASE("residual connections normalise before or after", "[layers]") {
  Parameters parameters(1);
  const Residual pre(Scope(parameters) / "pre", 6, true, 0.5), post(Scope(parameters) / "post", 6, false, 0.5);
  const at::Tensor x = normals({7, 6}, 1) * 3 + 1;
  const auto doubled = [](const at::Tensor& y, const tensor::Epilogue& epilogue) {
    return tensor::dropout(y * 2, epilogue);
  };
  const auto normal = [](const at::Tensor& y) { return at::layer_norm(y, {6}); };
  CHECK(difference(pre(x, nullptr, doubled), x + normal(x) * 2) < 1e-5);
  CHECK(difference(post(x, nullptr, doubled), normal(x + x * 2)) < 1e-5);

  DropoutStream for_pre(1, 1), for_post(1, 1), same(1, 1);
  const at::Tensor mask = tensor::dropout(at::ones({7, 6}), 0.5, &same);
  CHECK(difference(pre(x, &for_pre, doubled), x + normal(x) * 2 * mask) < 1e-5);
  CHECK(difference(post(x, &for_post, doubled), normal(x + x * 2 * mask)) < 1e-5);
}

TEST_CASE("joined matrices multiply as one and are known to files by their own names", "[layers]") {
  Parameters parameters(1), alone(1);
  const Linear joined(Scope(parameters) / "attn", {{"q_proj", 4}, {"k_proj", 2}}, 3, true, Init::normal(1), {});
  const at::Tensor q = Scope(alone).matrix("attn.q_proj.weight", 4, 3, Init::normal(1));
  const auto named = parameters.named();
  REQUIRE(named.size() == 4);
  CHECK(named[0].first == "attn.q_proj.weight");
  CHECK(named[1].first == "attn.k_proj.weight");
  CHECK(named[2].first == "attn.q_proj.bias");
  CHECK(named[3].first == "attn.k_proj.bias");
  CHECK(same_bits(named[0].second, q));  // which depends on the name of the part alone
  const at::Tensor x = normals({5, 3}, 2);
  CHECK(difference(joined(x).narrow(1, 4, 2), at::linear(x, named[1].second)) < 1e-6);
  parameters.flatten();
  assign(parameters.named()[1].second, at::ones({2, 3}));  // a view still
  CHECK(difference(joined.weight.narrow(0, 4, 2), at::ones({2, 3})) == 0);
}

TEST_CASE("adapters begin as nothing and add B A x", "[layers]") {
  Parameters parameters(1);
  const LoraSettings lora{2, 6, {"k_proj", "v_proj"}};
  const Linear joined(Scope(parameters), {{"q_proj", 4}, {"k_proj", 3}, {"v_proj", 2}}, 5, false, Init::normal(1), lora);
  const Linear alone(Scope(parameters) / "other", {{"v_proj", 2}}, 5, false, Init::normal(1), lora);
  REQUIRE(joined.adapters.size() == 2);
  parameters.train_only([](const std::string& name) { return name.find(".lora_") != std::string::npos; });
  const at::Tensor x = normals({6, 5}, 3);
  CHECK(difference(joined(x), at::linear(x, joined.weight)) < 1e-6);
  for (const Linear* layer : {&joined, &alone}) {
    for (const Linear::Adapter& adapter : layer->adapters) assign(adapter.b, normals(adapter.b.sizes(), 4));
  }
  at::Tensor merged = joined.weight.detach().clone();
  for (const Linear::Adapter& adapter : joined.adapters) merged.narrow(0, adapter.first_output, adapter.b.size(0)) += 3 * at::matmul(adapter.b, adapter.a).detach();
  const at::Tensor residual = normals({6, 9}, 5);
  CHECK(difference(joined(x, {residual, 0, nullptr}), residual + at::linear(x, merged)) < 1e-5);
  CHECK(difference(alone(x), at::linear(x, alone.weight + 3 * at::matmul(alone.adapters[0].b, alone.adapters[0].a))) < 1e-5);
  parameters.flatten();
  CHECK(parameters.flat_values().numel() == (2 * 5 + 3 * 2) + 2 * (2 * 5 + 2 * 2));
  joined(x).sum().backward();
  CHECK_FALSE(joined.weight.grad().defined());
  CHECK(joined.adapters[0].a.grad().abs().sum().item<double>() > 0);
  CHECK(parameters.trained().size() == 6);
  CHECK(parameters.fixed().size() == 2);
}

TEST_CASE("copies share what is trained and what is fixed", "[layers]") {
  Parameters one(1), other(2);
  const LoraSettings lora{1, 1, {"v_proj"}};
  const Linear first(Scope(one), {{"v_proj", 2}}, 3, false, Init::normal(1), lora), second(Scope(other), {{"v_proj", 2}}, 3, false, Init::normal(1), lora);
  one.train_only([](const std::string& name) { return name.find(".lora_") != std::string::npos; });
  one.flatten();
  other.share(one);
  const at::Tensor x = normals({4, 3}, 3);
  CHECK(same_bits(first(x), second(x)));
  second(x).sum().backward();
  CHECK(first.adapters[0].b.grad().abs().sum().item<double>() == 0);
  CHECK(second.adapters[0].b.grad().abs().sum().item<double>() > 0);
}

TEST_CASE("feed-forward layers of language models, with and without adapters", "[layers]") {
  for (const char* activation : {"swiglu", "gelu", "relu"}) {
    for (const bool adapted : {false, true}) {
      CAPTURE(activation, adapted);
      Parameters parameters(1);
      const Mlp mlp(Scope(parameters), 6, 10, activation, Init::normal(0.5), Init::normal(0.5), {adapted ? 2 : 0, 2, {"up_proj", "down_proj"}});
      const bool gated = std::string(activation) == "swiglu";
      CHECK(parameters.named().size() == (gated ? 3u : 2u) + (adapted ? 4u : 0u));
      const at::Tensor x = leaf(normals({7, 6}, 2)), before = at::linear(x, mlp.up.weight);
      const at::Tensor hidden = gated ? at::silu(before.narrow(1, 0, 10)) * before.narrow(1, 10, 10) : std::string(activation) == "gelu" ? at::gelu(before) : at::relu(before);
      CHECK(difference(mlp(x, 0, nullptr), at::linear(hidden, mlp.down.weight)) < 1e-5);
    }
  }
}
