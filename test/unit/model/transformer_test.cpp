#include "data/prompt_trees.h"
#include "models.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;

namespace {

constexpr int64_t kVocabulary = 23;
const VocabularySizes kSizes{kVocabulary, kVocabulary, true};
constexpr double kSmoothing = 0.1;

struct Pairs {
  std::vector<Tokens> sources, targets;
  data::Batch batch() const { return batch_of(sources, targets); }
};

Pairs some_pairs(uint64_t seed = 1) {
  return {random_sequences({4, 1, 9, 3}, kVocabulary, seed), random_sequences({6, 2, 1, 5}, kVocabulary, seed + 1)};
}

data::Batch pair_of(const Pairs& pairs, size_t i) { return batch_of({pairs.sources[i]}, {pairs.targets[i]}); }

/// Runs the loss backward, through the fast path or the general one.
double loss_with_gradients(Seq2Seq& model, const data::Batch& batch, tensor::DropoutStream* stream = nullptr) {
  for (const nn::Parameter& parameter : model.parameters().all()) parameter.value.mutable_grad() = at::Tensor();
  const loss::TokenLoss loss = model.loss(batch, kSmoothing, stream);
  loss.sum.backward();
  return loss.sum.item<double>();
}

double loss_value(const Seq2Seq& model, const data::Batch& batch, tensor::DropoutStream* stream = nullptr) {
  at::NoGradGuard no_grad;
  return model.loss(batch, kSmoothing, stream).sum.item<double>();
}

}  // namespace

TEST_CASE("the gradient of the whole model is that of finite differences", "[transformer][gradient]") {
  const data::Batch batch = some_pairs().batch();
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes), exact = general_twin(settings, kSizes);
    loss_with_gradients(*model, batch);
    at::NoGradGuard no_grad;
    Rng rng(5, name_of(settings));
    for (size_t i = 0; i < model->parameters().all().size(); ++i) {
      const nn::Parameter& parameter = model->parameters().all()[i];
      CAPTURE(parameter.name);
      REQUIRE(parameter.value.grad().defined());
      CHECK(parameter.value.grad().abs().max().item<double>() > 1e-4);
      if (rng.below(3) != 0) continue;
      // The gradient is the one that training uses; the slope is taken in double, where no rounding hides it, with a
      // step so short that no unit of a ReLU turns.
      at::Tensor values = exact->parameters().all()[i].value.detach();
      const at::Tensor kept = values.clone(), direction = normals(values.sizes(), i, at::kDouble);
      constexpr double kStep = 1e-7;
      const auto loss_at = [&](double step) {
        values.copy_(kept + direction * step);
        return loss_value(*exact, batch);
      };
      const double slope = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
      values.copy_(kept);
      CHECK((parameter.value.grad() * direction).sum().item<double>() == Approx(slope).epsilon(1e-4).margin(1e-3));
    }
  }
}

TEST_CASE("under dropout the gradient is that of the masks that were drawn", "[transformer][gradient]") {
  const data::Batch batch = some_pairs().batch();
  for (const char* norm : {"pre", "post"}) {
    const Settings settings = small({{"norm", norm},
                                     {"dropout", "0.3"},
                                     {"attention-dropout", "0.2"},
                                     {"activation-dropout", "0.2"},
                                     {"activation", "gelu"}});
    const auto model = random_model(settings, kSizes);
    tensor::DropoutStream stream(3, 1);
    const double loss = loss_with_gradients(*model, batch, &stream);
    CHECK(std::abs(loss - loss_value(*model, batch)) > 0.1);  // the masks do something
    tensor::DropoutStream other(3, 2);
    CHECK(std::abs(loss - loss_value(*model, batch, &other)) > 1e-3);
    for (const nn::Parameter& parameter : model->parameters().all()) {
      CAPTURE(norm, parameter.name);
      check_gradient(parameter.value, [&] {
        tensor::DropoutStream again(3, 1);
        return loss_value(*model, batch, &again);
      }, 2e-2);
    }
  }
}

TEST_CASE("every kind of dropout has its places in training, and none in evaluation", "[transformer][dropout]") {
  const data::Batch batch = some_pairs().batch();
  const double plain = loss_value(*random_model(small(), kSizes), batch);
  // Both embeddings and all sub-layers; all attentions; all feed-forward layers.
  const std::map<std::string, int> places{
      {"dropout", 2 + 2 * 2 + 2 * 3}, {"attention-dropout", 2 + 2 * 2}, {"activation-dropout", 2 + 2}};
  for (const auto& [kind, count] : places) {
    CAPTURE(kind);
    Settings settings = small({{"dropout", "0"}});
    settings[kind] = "0.5";
    const auto model = random_model(settings, kSizes);
    CHECK(loss_value(*model, batch) == plain);
    tensor::DropoutStream stream(1, 1), same(1, 1), next(1, 2), counted(1, 1);
    const double dropped = loss_value(*model, batch, &stream);
    CHECK(std::abs(dropped - plain) > 1e-2);
    CHECK(loss_value(*model, batch, &same) == dropped);
    CHECK(loss_value(*model, batch, &next) != dropped);
    for (int i = 0; i < count; ++i) counted.next(0.5);
    CHECK(stream.next(0.5).key == counted.next(0.5).key);
  }
}

TEST_CASE("the fast path agrees with LibTorch's general operators", "[transformer]") {
  const data::Batch batch = some_pairs().batch();
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes), twin = general_twin(settings, kSizes);
    CHECK(difference(model->target_logprobs(batch), twin->target_logprobs(batch)) < 1e-4);
    CHECK(loss_with_gradients(*model, batch) == Approx(loss_with_gradients(*twin, batch)).epsilon(1e-5));
    for (size_t i = 0; i < model->parameters().all().size(); ++i) {
      const nn::Parameter &fast = model->parameters().all()[i], &general = twin->parameters().all()[i];
      CAPTURE(fast.name);
      CHECK(difference(fast.value.grad(), general.value.grad()) < 1e-3);
    }
  }
}

TEST_CASE("the loss is the smoothed sum of the target tokens' log-probabilities", "[transformer]") {
  const data::Batch batch = some_pairs().batch();
  const auto model = random_model(small(), kSizes);
  const double nll = -model->target_logprobs(batch).sum().item<double>();
  const loss::TokenLoss plain = model->loss(batch, 0, nullptr), smooth = model->loss(batch, kSmoothing, nullptr);
  CHECK(plain.sum.item<double>() == Approx(nll).epsilon(1e-5));
  CHECK(plain.nll_sum == Approx(nll).epsilon(1e-5));
  CHECK(smooth.nll_sum == Approx(nll).epsilon(1e-5));
  at::NoGradGuard no_grad;
  const OutputLayer output = model->output_layer();
  const at::Tensor logits = at::linear(model->features(batch, nullptr), output.weight, output.bias);
  const double uniform = -at::log_softmax(logits, -1).mean(1).sum().item<double>();
  CHECK(smooth.sum.item<double>() == Approx((1 - kSmoothing) * nll + kSmoothing * uniform).epsilon(1e-5));
}

TEST_CASE("a sentence's probabilities do not depend on the others of its batch", "[transformer][packing]") {
  const Pairs pairs = some_pairs();
  const data::Batch batch = pairs.batch();
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes);
    const at::Tensor together = model->target_logprobs(batch);
    double sum = 0;
    for (size_t i = 0; i < pairs.sources.size(); ++i) {
      const data::Batch alone = pair_of(pairs, i);
      const auto& spans = batch.target_input.spans;
      CHECK(same_bits(together.narrow(0, spans.begin[i], spans.length[i]), model->target_logprobs(alone)));
      sum += loss_with_gradients(*model, alone);
    }
    CHECK(loss_with_gradients(*model, batch) == Approx(sum).epsilon(1e-5));
  }
}

TEST_CASE("NaN in one sentence stays there", "[transformer][packing]") {
  Pairs pairs = some_pairs();
  for (const char* positions : {"sinusoidal", "learned", "rotary"}) {
    CAPTURE(positions);
    const auto model = random_model(small({{"tie", "none"}, {"positions", positions}}), kSizes);
    constexpr int32_t kPoison = kVocabulary - 1;
    for (auto* side : {&pairs.sources, &pairs.targets}) {
      for (Tokens& tokens : *side) std::replace(tokens.begin(), tokens.end(), kPoison, kPoison - 1);
    }
    const at::Tensor before = model->target_logprobs(pairs.batch());
    pairs.sources[2][4] = kPoison;
    pairs.targets[1][0] = kPoison;
    for (const nn::Parameter& parameter : model->parameters().all()) {
      if (parameter.name.find("embedding") != std::string::npos) parameter.value.detach()[kPoison].fill_(NAN);
    }
    const data::Batch batch = pairs.batch();
    const at::Tensor after = model->target_logprobs(batch);
    for (const size_t i : {0, 3}) {
      const auto& spans = batch.target_input.spans;
      const auto of_sentence = [&](const at::Tensor& rows) { return rows.narrow(0, spans.begin[i], spans.length[i]); };
      CHECK(same_bits(of_sentence(before), of_sentence(after)));
    }
    const auto& spans = batch.target_input.spans;
    CHECK(after.narrow(0, spans.begin[2], spans.length[2]).isnan().all().item<bool>());
    CHECK(same_bits(before.narrow(0, spans.begin[1], 0), after.narrow(0, spans.begin[1], 0)));
    CHECK_FALSE(after[spans.begin[1]].isnan().item<bool>());  // the poison is its output, not yet its input
    CHECK(after.narrow(0, spans.begin[1] + 1, spans.length[1] - 1).isnan().all().item<bool>());
  }
}

TEST_CASE("later target tokens change no earlier probability", "[transformer][causal]") {
  const std::vector<Tokens> sources = random_sequences({6}, kVocabulary, 3);
  const Tokens target = random_sequences({8}, kVocabulary, 4)[0];
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes);
    const at::Tensor before = model->target_logprobs(batch_of(sources, {target}));
    for (size_t from = 0; from < target.size(); ++from) {
      Tokens changed = target;
      for (size_t t = from; t < changed.size(); ++t) changed[t] = kFirstToken + (changed[t] + 3) % 19;
      const at::Tensor after = model->target_logprobs(batch_of(sources, {changed}));
      const auto kept = static_cast<int64_t>(from);
      CHECK(same_bits(before.narrow(0, 0, kept), after.narrow(0, 0, kept)));
      CHECK((before - after).narrow(0, kept + 1, 8 - kept).abs().min().item<double>() > 1e-6);
    }
  }
}

TEST_CASE("source and target are read with their order", "[transformer]") {
  const Tokens source = random_sequences({6}, kVocabulary, 3)[0], target = random_sequences({4}, kVocabulary, 4)[0];
  const Tokens turned(source.rbegin(), source.rend());
  Tokens swapped = target;
  std::swap(swapped[0], swapped[1]);
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto model = random_model(settings, kSizes);
    const at::Tensor plain = model->target_logprobs(batch_of({source}, {target}));
    CHECK(difference(plain, model->target_logprobs(batch_of({turned}, {target}))) > 1e-3);
    const at::Tensor other = model->target_logprobs(batch_of({source}, {swapped}));
    CHECK(difference(plain.narrow(0, 2, 3), other.narrow(0, 2, 3)) > 1e-3);
  }
}

TEST_CASE("candidates that share a source are what they are with a copy each, and so are gradients", "[transformer]") {
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto together = random_model(settings, kSizes), apart = random_model(settings, kSizes);
    const std::vector<Tokens> sources = random_sequences({5, 3, 7}, kVocabulary, 8);
    std::vector<Tokens> targets = random_sequences({4, 1, 6, 2, 3}, kVocabulary, 9);
    for (size_t i = 0; i < targets.size(); ++i) {
      if (i != 2) targets[i].push_back(kEos);  // one was cut off
    }
    const data::PromptTree first{sources[0], {targets[0], targets[1], targets[2]}}, second{sources[1], {targets[3]}}, third{sources[2], {targets[4]}};
    const data::Batch shared = data::make_batch({&first, &second, &third}, kEos, kBos);
    REQUIRE(shared.source_rows.defined());
    CHECK(shared.target_tokens() == 5 + 2 + 6 + 3 + 4);
    const at::Tensor factors = normals({shared.target_tokens()}, 3);
    const auto logprobs = [](const Seq2Seq& model, const data::Batch& batch) {
      const OutputLayer output = model.output_layer();
      return loss::token_logprobs(model.features(batch, nullptr), output.weight, output.bias, batch.target_output);
    };
    const at::Tensor all = logprobs(*together, shared);
    (all * factors).sum().backward();
    int64_t row = 0;
    for (const auto& [source, target] : {std::pair(0, 0), std::pair(0, 1), std::pair(0, 2), std::pair(1, 3), std::pair(2, 4)}) {
      const data::PromptTree one{sources[static_cast<size_t>(source)], {targets[static_cast<size_t>(target)]}};
      const data::Batch alone = data::make_batch({&one}, kEos, kBos);
      CHECK_FALSE(alone.source_rows.defined());
      const at::Tensor some = logprobs(*apart, alone);
      CHECK(difference(some, all.narrow(0, row, some.size(0))) < 1e-4);
      (some * factors.narrow(0, row, some.size(0))).sum().backward();
      row += some.size(0);
    }
    for (size_t i = 0; i < together->parameters().all().size(); ++i) {
      CAPTURE(together->parameters().all()[i].name);
      CHECK(difference(together->parameters().all()[i].value.grad(), apart->parameters().all()[i].value.grad()) < 1e-3);
    }
  }
}

TEST_CASE("decoding within the graph gives the log-probabilities of teacher forcing, and their gradient", "[transformer]") {
  for (const Settings& settings : grid()) {
    CAPTURE(name_of(settings));
    const auto stepped = general_twin(settings, kSizes), forced = general_twin(settings, kSizes);
    const std::vector<Tokens> sources = random_sequences({5, 3}, kVocabulary, 8), targets = random_sequences({4, 4, 4}, kVocabulary, 9);
    const data::PromptTree first{sources[0], {targets[0], targets[1]}}, second{sources[1], {targets[2]}};
    const data::Batch batch = data::make_batch({&first, &second}, kEos, kBos);
    const at::Tensor factors = normals({12}, 3, at::kDouble);
    const auto logprobs = [](const Seq2Seq& model, const at::Tensor& states, const at::Tensor& tokens) {
      const OutputLayer output = model.output_layer();
      return loss::token_logprobs(states, output.weight, output.bias, tokens);
    };
    const at::Tensor expected = logprobs(*forced, forced->features(batch, nullptr), batch.target_output);
    (expected * factors).sum().backward();
    const auto decoder = stepped->start_with_graph(batch.source, {2, 1});
    std::vector<at::Tensor> steps;
    std::vector<int32_t> last(3, kBos);
    for (size_t t = 0; t < 4; ++t) {
      const at::Tensor states = decoder->advance(last);
      for (size_t r = 0; r < 3; ++r) last[r] = targets[r][t];
      steps.push_back(logprobs(*stepped, states, at::tensor(std::vector<int64_t>(last.begin(), last.end()), at::kLong)));
    }
    const at::Tensor found = at::stack(steps, 1).view({-1});
    CHECK(difference(found, expected) < 1e-10);
    (found * factors).sum().backward();
    for (size_t i = 0; i < stepped->parameters().all().size(); ++i) {
      const at::Tensor ours = stepped->parameters().all()[i].value.grad(), theirs = forced->parameters().all()[i].value.grad();
      CHECK(difference(ours, theirs) < 1e-10);
    }
  }
}
