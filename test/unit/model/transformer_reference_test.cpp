// The model against its formulas: one pair at a time, in double, from the named tensors of docs/formats.md alone.

#include "models.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;

namespace {

constexpr int64_t kVocabulary = 23;
const VocabularySizes kSizes{kVocabulary, kVocabulary, true};

class Reference {
 public:
  Reference(Seq2Seq& model, Settings settings) : settings_(std::move(settings)) {
    for (const nn::Parameter& parameter : model.parameters().all()) {
      tensors_[parameter.name] = parameter.value.detach().to(at::kDouble);
    }
    dim_ = std::stoll(settings_.at("dim"));
    heads_ = std::stoll(settings_.at("heads"));
  }

  /// log p of every target token.
  at::Tensor target_logprobs(const Tokens& source, const Tokens& target) const {
    Tokens from = source, before{kBos}, after = target;
    from.push_back(kEos);
    before.insert(before.end(), target.begin(), target.end());
    after.push_back(kEos);
    const at::Tensor memory = encode(from);
    at::Tensor x = embed("decoder", true, before);
    for (const char* layer : {"decoder.0.", "decoder.1."}) {
      const std::string l = layer;
      x = residual(l + "self.", x, [&](const at::Tensor& y) {
        const auto parts = linear(l + "self.qkv.", y).chunk(3, 1);
        return linear(l + "self.out.", attention(l + "self.", turn(parts[0]), turn(parts[1]), parts[2], true));
      });
      x = residual(l + "cross.", x, [&](const at::Tensor& y) {
        const auto parts = linear(l + "cross.kv.", memory).chunk(2, 1);
        return linear(l + "cross.out.", attention(l + "cross.", linear(l + "cross.q.", y), parts[0], parts[1], false));
      });
      x = feed_forward(l, x);
    }
    if (is("norm", "pre")) x = normalise("decoder.norm.", x);
    const at::Tensor weight = tensors_.at(is("tie", "none") ? "output.weight" : "decoder.embedding.weight");
    const at::Tensor logits = at::matmul(x, weight.t()) + tensors_.at("output.bias");
    const at::Tensor wanted = at::tensor(std::vector<int64_t>(after.begin(), after.end()));
    return at::log_softmax(logits, 1).gather(1, wanted.unsqueeze(1)).squeeze(1);
  }

 private:
  bool is(const std::string& key, const std::string& value) const { return settings_.at(key) == value; }

  at::Tensor encode(const Tokens& tokens) const {
    at::Tensor x = embed("encoder", !is("tie", "all"), tokens);
    for (const char* layer : {"encoder.0.", "encoder.1."}) {
      const std::string l = layer;
      x = residual(l + "attention.", x, [&](const at::Tensor& y) {
        const auto parts = linear(l + "attention.qkv.", y).chunk(3, 1);
        return linear(l + "attention.out.", attention(l + "attention.", turn(parts[0]), turn(parts[1]), parts[2], false));
      });
      x = feed_forward(l, x);
    }
    return is("norm", "pre") ? normalise("encoder.norm.", x) : x;
  }

  at::Tensor embed(const std::string& side, bool own_table, const Tokens& tokens) const {
    const at::Tensor table = tensors_.at((own_table ? side : "decoder") + ".embedding.weight");
    at::Tensor x = at::empty({static_cast<int64_t>(tokens.size()), dim_}, at::kDouble);
    for (int64_t t = 0; t < x.size(0); ++t) {
      x[t] = table[tokens[static_cast<size_t>(t)]] * std::sqrt(static_cast<double>(dim_));
      if (is("positions", "learned")) x[t] += tensors_.at(side + ".positions.weight")[t];
      if (!is("positions", "sinusoidal")) continue;
      for (int64_t i = 0; i < dim_ / 2; ++i) {
        const double angle = static_cast<double>(t) / std::pow(10000.0, 2.0 * static_cast<double>(i) / static_cast<double>(dim_));
        x[t][i] += std::sin(angle);
        x[t][dim_ / 2 + i] += std::cos(angle);
      }
    }
    return x;
  }

  /// Rotary positions: element i of a head and its partner in the other half are one complex number, turned by t theta_i.
  at::Tensor turn(const at::Tensor& x) const {
    if (!is("positions", "rotary")) return x;
    const int64_t width = dim_ / heads_, half = width / 2;
    at::Tensor turned = x.clone();
    for (int64_t t = 0; t < x.size(0); ++t) {
      for (int64_t place = 0; place < dim_; ++place) {
        const int64_t i = place % width;
        if (i >= half) continue;
        const double angle = static_cast<double>(t) * std::pow(10000.0, -static_cast<double>(i) / static_cast<double>(half));
        const double a = x[t][place].item<double>(), b = x[t][place + half].item<double>();
        turned[t][place] = a * std::cos(angle) - b * std::sin(angle);
        turned[t][place + half] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
    return turned;
  }

  at::Tensor attention(const std::string& scope, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, bool causal) const {
    const int64_t width = dim_ / heads_;
    std::vector<at::Tensor> results;
    for (int64_t head = 0; head < heads_; ++head) {
      const auto part = [&](const at::Tensor& x) { return x.narrow(1, head * width, width); };
      const at::Tensor scores = at::matmul(part(q), part(k).t()) / std::sqrt(static_cast<double>(width));
      const at::Tensor hidden = (causal ? at::ones_like(scores).triu(1) : at::zeros_like(scores)).to(at::kBool);
      at::Tensor weights;
      if (tensors_.count(scope + "polynomial.bias")) {
        const int64_t degree = settings_.count("poly-degree") ? std::stoll(settings_.at("poly-degree")) : 3;
        weights = at::pow((scores + tensors_.at(scope + "polynomial.bias")[head]).clamp_min(0), degree) + tensors_.at(scope + "polynomial.delta")[head].abs();
        weights = weights.masked_fill(hidden, 0);
        weights = weights / weights.sum(1, true);
      } else {
        weights = at::softmax(scores.masked_fill(hidden, -INFINITY), 1);
      }
      results.push_back(at::matmul(weights, part(v)));
    }
    return at::cat(results, 1);
  }

  template <typename Function>
  at::Tensor residual(const std::string& scope, const at::Tensor& x, Function function) const {
    if (is("norm", "pre")) return x + function(normalise(scope + "norm.", x));
    return normalise(scope + "norm.", x + function(x));
  }

  at::Tensor feed_forward(const std::string& layer, const at::Tensor& x) const {
    return residual(layer + "ffn.", x, [&](const at::Tensor& y) {
      const at::Tensor hidden = linear(layer + "ffn.up.", y);
      const at::Tensor gelu = hidden * 0.5 * (1 + at::erf(hidden / std::sqrt(2.0)));
      return linear(layer + "ffn.down.", is("activation", "gelu") ? gelu : hidden.clamp_min(0));
    });
  }

  at::Tensor linear(const std::string& scope, const at::Tensor& x) const {
    return at::matmul(x, tensors_.at(scope + "weight").t()) + tensors_.at(scope + "bias");
  }

  at::Tensor normalise(const std::string& scope, const at::Tensor& x) const {
    const at::Tensor centred = x - x.mean(1, true);
    const bool l1 = type_of(settings_) == "integer-transformer" && !settings_.count("norm-kind");
    const at::Tensor deviation =
        l1 ? std::sqrt(std::acos(-1.0) / 2) * centred.abs().mean(1, true) + 1e-5 : (centred.pow(2).mean(1, true) + 1e-5).sqrt();
    return centred / deviation * tensors_.at(scope + "weight") + tensors_.at(scope + "bias");
  }

  Settings settings_;
  std::map<std::string, at::Tensor> tensors_;
  int64_t dim_ = 0, heads_ = 0;
};

}  // namespace

TEST_CASE("the model computes what its formulas say", "[transformer][reference]") {
  const std::vector<Tokens> sources = random_sequences({5, 1, 8}, kVocabulary, 1);
  const std::vector<Tokens> targets = random_sequences({3, 6, 0}, kVocabulary, 2);
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes);
    const Reference reference(*model, settings);
    std::vector<at::Tensor> expected;
    for (size_t i = 0; i < sources.size(); ++i) expected.push_back(reference.target_logprobs(sources[i], targets[i]));
    CHECK(difference(model->target_logprobs(batch_of(sources, targets)), at::cat(expected)) < 1e-4);
  }
}
