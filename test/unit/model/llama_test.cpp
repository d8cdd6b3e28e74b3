// Language models of the Llama family: the fast path of training against the general one, against the engine, and taken apart.

#include "data/prompt_trees.h"
#include "infer/lm_engine.h"
#include "infer/quantise.h"
#include "kernel/gemm.h"
#include "model/lm_load.h"
#include "model/torch_lm.h"
#include "models.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;

namespace {

constexpr int64_t kTokens = 29;

Settings tiny(const Settings& more = {}) {
  Settings settings{{"model.dim", "16"}, {"model.ffn", "20"}, {"model.layers", "2"}, {"model.heads", "4"}, {"model.kv-heads", "2"}, {"model.max-positions", "64"}};
  for (const auto& [key, value] : more) settings[key] = value;
  return settings;
}

std::vector<Settings> shapes() {
  return {tiny(),
          tiny({{"model.kv-heads", "4"}, {"model.tie", "true"}}),
          tiny({{"model.qkv-bias", "true"}, {"model.tie", "true"}, {"model.kv-heads", "1"}}),
          tiny({{"model.window", "3"}}),
          tiny({{"model.head-dim", "6"}, {"model.rope-theta", "500"}, {"model.rope-scaling", "llama3"}, {"model.rope-factor", "8"}, {"model.rope-original-positions", "16"}}),
          tiny({{"model.norm", "layer"}, {"model.activation", "gelu"}, {"model.positions", "learned"}}),
          tiny({{"model.norm", "l1"}, {"model.activation", "relu"}, {"model.attention", "polynomial"}, {"model.kv-heads", "0"}}),
          tiny({{"model.vocabulary", "32"}, {"model.rope-scaling", "linear"}, {"model.rope-factor", "2"}}),
          tiny({{"lora.rank", "2"}, {"lora.targets", "q_proj,v_proj,gate_proj,down_proj,o_proj"}})};
}

std::string text_of(const Settings& settings) {
  std::string text;
  for (const auto& [key, value] : settings) text += key + "=" + value + " ";
  return text;
}

void set_all(Options& options, const Settings& settings) {
  for (const auto& [key, value] : settings) {
    Option* option = options.find(key);
    REQUIRE(option);
    REQUIRE(option->set(option->is_list() ? split(value, ',') : std::vector<std::string>{value}).empty());
  }
}

std::unique_ptr<Lm> lm(const Settings& settings, std::optional<uint64_t> seed = 1) {
  Options options;
  std::string type = "llama";
  const auto config = declare_lm(options, type);
  set_all(options, settings);
  return config->build(kTokens, seed);
}

/// With every parameter moved away from its start, so that no bias and no adapter is 0 and no norm is 1.
std::unique_ptr<Lm> random_lm(const Settings& settings, uint64_t seed = 1) {
  auto model = lm(settings, seed);
  for (const nn::Parameter& parameter : model->parameters().all()) parameter.value.detach().add_(normals(parameter.value.sizes(), ++seed * 1000) * 0.2);
  return model;
}

std::unique_ptr<Lm> in_double(const Settings& settings) {
  auto model = random_lm(settings);
  model->parameters().to(at::kCPU, at::kDouble);
  return model;
}

/// What a model sees and what it has to say.
struct Sample {
  data::PackedTokens input;
  at::Tensor targets;
};

Sample sample(const std::vector<int64_t>& lengths = {5, 1, 9, 4}) {
  std::vector<data::Tokens> inputs;
  std::vector<int64_t> targets;
  for (const Tokens& sequence : random_sequences(lengths, kTokens, 3)) {
    inputs.emplace_back(sequence.begin(), sequence.end());
    for (size_t i = 1; i <= sequence.size(); ++i) targets.push_back(i < sequence.size() ? sequence[i] : kEos);
  }
  return {data::pack(inputs, -1, -1), at::tensor(targets, at::kLong)};
}

double loss_of(const Lm& model, const Sample& s, const at::Tensor& rows = {}, tensor::DropoutStream* stream = nullptr) {
  at::NoGradGuard no_grad;
  const at::Tensor targets = rows.defined() ? s.targets.index_select(0, rows) : s.targets;
  return model.loss(s.input, rows, targets, 0.1, stream).sum.item<double>();
}

std::unique_ptr<infer::LanguageModel> engine_of(const std::string& file, const Settings& settings, bool to_bfloat16 = false) {
  Options options;
  const auto config = Registry<infer::LmEngineType>::instance().get("llama").config();
  config->declare(options);
  set_all(options, settings);
  infer::Weights weights({file}, to_bfloat16);
  auto engine = config->build(kTokens, weights);
  weights.check();
  return engine;
}

/// The same sequences, begun, branched and stepped, through two models: the largest difference of log-probabilities.
double largest_difference(const infer::LanguageModel& a, const infer::LanguageModel& b) {
  const auto first = a.start(1), second = b.start(1);
  const int64_t size = a.vocabulary_size();
  REQUIRE(b.vocabulary_size() == size);
  double worst = 0;
  std::vector<float> one(static_cast<size_t>(size)), other(static_cast<size_t>(size));
  const auto compare = [&](const float* x, const float* y, int64_t count) {
    for (int64_t i = 0; i < count; ++i) worst = std::max(worst, static_cast<double>(std::abs(x[i] - y[i])));
  };
  std::vector<infer::SequenceDecoder::Handle> ours, theirs;
  const auto begin = [&](const Tokens& prompt) {
    ours.push_back(first->begin(prompt, one.data()));
    theirs.push_back(second->begin(prompt, other.data()));
    compare(one.data(), other.data(), size);
  };
  const std::vector<Tokens> prompts = random_sequences({4, 1, 7}, kTokens, 5);
  for (const Tokens& prompt : prompts) begin(prompt);
  Rng rng(1, "steps");
  for (int step = 0; step < 12; ++step) {
    if (step == 3) {
      ours.push_back(first->branch(ours[2]));
      theirs.push_back(second->branch(theirs[2]));
    }
    if (step == 6) {
      first->end(ours[0]);
      second->end(theirs[0]);
      ours.erase(ours.begin());
      theirs.erase(theirs.begin());
      begin(random_sequences({20}, kTokens, 6)[0]);
    }
    std::vector<int32_t> tokens;
    for (size_t i = 0; i < ours.size(); ++i) tokens.push_back(static_cast<int32_t>(rng.below(kTokens)));
    compare(first->advance(ours, tokens), second->advance(theirs, tokens), static_cast<int64_t>(ours.size()) * size);
  }
  return worst;
}

}  // namespace

TEST_CASE("answers that share their prompt's rows are what they are alone, and so are gradients", "[llama][trees]") {
  const std::vector<Tokens> pieces = random_sequences({6, 3, 1, 5, 4, 2, 7}, kTokens, 9);
  const data::PromptTree first{pieces[0], {pieces[1], pieces[2], pieces[3]}}, second{pieces[4], {pieces[5]}}, third{pieces[6], {pieces[2], pieces[1]}};
  const std::vector<const data::PromptTree*> trees{&first, &second, &third};
  const at::Tensor factors = normals({6, 16}, 12);
  for (Settings settings : shapes()) {
    CAPTURE(text_of(settings));
    settings["model.dropout"] = "0";
    const auto together = random_lm(settings), apart = random_lm(settings);
    const data::TreeBatch shared = data::make_tree_batch(trees, data::LastTokens::kRead), copied = data::make_tree_batch(trees, data::LastTokens::kRead, data::Prompts::kCopied);
    REQUIRE(shared.input_tokens() < copied.input_tokens());
    const auto states = [](const Lm& model, const data::TreeBatch& batch) { return model.features(batch.input, nullptr).index_select(0, batch.last); };
    const at::Tensor a = states(*together, shared), b = states(*apart, copied);
    CHECK(difference(a, b) < 1e-4);
    // Every token of the endings is predicted from the same state too.
    CHECK(difference(together->features(shared.input, nullptr).index_select(0, shared.rows), apart->features(copied.input, nullptr).index_select(0, copied.rows)) < 1e-4);
    (a * factors).sum().backward();
    (b * factors).sum().backward();
    const std::vector<nn::Parameter> ours = together->parameters().trained(), theirs = apart->parameters().trained();
    for (size_t i = 0; i < ours.size(); ++i) {
      CAPTURE(ours[i].name);
      REQUIRE(ours[i].value.grad().defined() == theirs[i].value.grad().defined());
      if (ours[i].value.grad().defined()) CHECK(difference(ours[i].value.grad(), theirs[i].value.grad()) < 1e-3);
    }
  }
}

TEST_CASE("the gradient of a language model is that of finite differences, fast and general", "[llama][gradient]") {
  const Sample s = sample();
  for (const Settings& settings : shapes()) {
    CAPTURE(text_of(settings));
    const auto model = random_lm(settings), exact = in_double(settings);
    model->loss(s.input, {}, s.targets, 0.1, nullptr).sum.backward();
    CHECK(loss_of(*model, s) == Approx(loss_of(*exact, s)).epsilon(1e-5));
    at::NoGradGuard no_grad;
    for (size_t i = 0; i < model->parameters().all().size(); ++i) {
      const nn::Parameter& parameter = model->parameters().all()[i];
      CAPTURE(parameter.name);
      if (!parameter.value.requires_grad()) {
        CHECK_FALSE(parameter.value.grad().defined());
        continue;
      }
      REQUIRE(parameter.value.grad().defined());
      CHECK(parameter.value.grad().abs().max().item<double>() > 1e-4);
      at::Tensor values = exact->parameters().all()[i].value.detach();
      const at::Tensor kept = values.clone(), direction = normals(values.sizes(), i, at::kDouble);
      constexpr double kStep = 1e-7;
      const auto loss_at = [&](double step) {
        values.copy_(kept + direction * step);
        return loss_of(*exact, s);
      };
      const double slope = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
      values.copy_(kept);
      CHECK((parameter.value.grad() * direction).sum().item<double>() == Approx(slope).epsilon(2e-4).margin(1e-3));
    }
  }
}

TEST_CASE("checkpointing changes no bit of loss and gradients, under dropout too", "[llama][gradient]") {
  const Sample s = sample();
  for (const auto& [rank, precision] : std::vector<std::pair<const char*, tensor::Precision>>{
           {"0", tensor::Precision::kFloat32}, {"2", tensor::Precision::kFloat32}, {"0", tensor::Precision::kBFloat16}, {"2", tensor::Precision::kBFloat16}}) {
    if (precision == tensor::Precision::kBFloat16 && !kernel::has_bfloat16()) continue;
    const WithPrecision set(precision);
    std::vector<at::Tensor> gradients[2];
    for (const bool checkpointing : {false, true}) {
      const auto model = random_lm(tiny({{"model.dropout", "0.2"}, {"model.attention-dropout", "0.1"}, {"model.activation-dropout", "0.1"}, {"lora.rank", rank}}));
      model->set_checkpointing(checkpointing);
      model->parameters().flatten();
      tensor::DropoutStream stream(1, 1);
      const loss::TokenLoss loss = model->loss(s.input, {}, s.targets, 0.1, &stream);
      loss.sum.backward();
      gradients[checkpointing] = {loss.sum.detach(), model->parameters().flat_gradients()};
    }
    CHECK(same_bits(gradients[0][0], gradients[1][0]));
    CHECK(same_bits(gradients[0][1], gradients[1][1]));
    CHECK(gradients[0][1].abs().sum().item<double>() > 1);
  }
}

TEST_CASE("a token does not see what follows it, nor what other sequences say", "[llama]") {
  for (const Settings& settings : shapes()) {
    CAPTURE(text_of(settings));
    const auto model = random_lm(settings);
    at::NoGradGuard no_grad;
    const Sample together = sample();
    const at::Tensor all = model->features(together.input, nullptr);
    const std::vector<Tokens> sequences = random_sequences({5, 1, 9, 4}, kTokens, 3);
    const Tokens beginning(sequences[2].begin(), sequences[2].begin() + 6);
    CHECK(difference(model->features(data::pack({beginning}, -1, -1), nullptr), all.narrow(0, 6, 6)) < 1e-5);
  }
}

TEST_CASE("loss of chosen rows is that of those tokens", "[llama]") {
  const auto model = random_lm(tiny());
  const Sample s = sample();
  const at::Tensor rows = at::tensor({0, 3, 7, 18}, at::kLong);
  const at::Tensor all = model->target_logprobs(s.input, {}, s.targets);
  CHECK(difference(model->target_logprobs(s.input, rows, s.targets.index_select(0, rows)), all.index_select(0, rows)) < 1e-6);
  const loss::TokenLoss loss = model->loss(s.input, rows, s.targets.index_select(0, rows), 0, nullptr);
  CHECK(loss.nll_sum == Approx(-all.index_select(0, rows).sum().item<double>()).epsilon(1e-5));
}

TEST_CASE("LibTorch's decoder says step by step what the model says at once", "[llama]") {
  for (const Settings& settings : shapes()) {
    CAPTURE(text_of(settings));
    const auto model = random_lm(settings);
    const Tokens tokens = random_sequences({12}, kTokens, 7)[0];
    const std::vector<double> scores = TorchLm(*model).score({tokens}, 1);
    const auto decoder = TorchLm(*model).start(1);
    std::vector<float> row(static_cast<size_t>(TorchLm(*model).vocabulary_size()));
    const auto handle = decoder->begin({tokens[0]}, row.data());
    const float* logprobs = row.data();
    for (size_t i = 1; i < tokens.size(); ++i) {
      CHECK(static_cast<double>(logprobs[tokens[i]]) == Approx(scores[i - 1]).margin(2e-5));
      logprobs = decoder->advance({handle}, {tokens[i]});
    }
  }
  const auto model = random_lm(tiny({{"model.max-positions", "5"}}));
  const auto decoder = model->start();
  CHECK(failure_of([&] { decoder->begin(Tokens(6, 4), nullptr); }).says("5 positions"));
  CHECK(failure_of([&] { decoder->begin({}, nullptr); }).says("at least one"));
}

TEST_CASE("the engine says what LibTorch says, for sequences that come, branch and go", "[llama][engine]") {
  for (const Settings& settings : shapes()) {
    CAPTURE(text_of(settings));
    const auto model = random_lm(settings);
    const TempDir dir;
    tensor::save_tensors(dir / "m.safetensors", model->parameters().named());
    const auto engine = engine_of(dir / "m.safetensors", settings);
    CHECK(largest_difference(*engine, TorchLm(*model)) < 1e-4);
    const std::vector<Tokens> sequences = random_sequences({5, 1, 30, 8}, kTokens, 9);
    const std::vector<double> ours = engine->score(sequences, 2), theirs = TorchLm(*model).score(sequences, 1);
    REQUIRE(ours.size() == theirs.size());
    for (size_t i = 0; i < ours.size(); ++i) CHECK(ours[i] == Approx(theirs[i]).margin(1e-4));
  }
}

TEST_CASE("the size of a model is known before it is built", "[llama]") {
  for (const Settings& settings : shapes()) {
    CAPTURE(text_of(settings));
    Options options;
    std::string type = "llama";
    const auto config = declare_lm(options, type);
    set_all(options, settings);
    const LmSize size = config->size(kTokens);
    auto model = config->build(kTokens, 1);
    int64_t trained = 0, fixed = 0;
    for (const nn::Parameter& parameter : model->parameters().trained()) trained += parameter.value.numel();
    for (const nn::Parameter& parameter : model->parameters().fixed()) fixed += parameter.value.numel();
    CHECK(size.trained == trained);
    CHECK(size.fixed == fixed);
  }
}

namespace {

/// Another model, and how much it is given at a time.
class WatchedLm final : public Lm {
 public:
  explicit WatchedLm(Lm& model) : model_(model) {}
  nn::Parameters& parameters() override { return model_.parameters(); }
  OutputLayer output_layer() const override { return model_.output_layer(); }
  int64_t max_positions() const override { return model_.max_positions(); }
  at::Tensor features(const data::PackedTokens& input, tensor::DropoutStream* stream) const override {
    inputs.push_back(input.tokens.size(0));
    return model_.features(input, stream);
  }
  void set_checkpointing(bool checkpointing) override { model_.set_checkpointing(checkpointing); }
  std::unique_ptr<infer::SequenceDecoder> start() const override { return model_.start(); }

  mutable std::vector<int64_t> inputs;

 private:
  Lm& model_;
};

}  // namespace

TEST_CASE("states are computed a batch at a time", "[llama]") {
  const auto model = random_lm(tiny({}));
  const std::vector<infer::LanguageModel::Tree> trees = {{{1, 2, 3}, {{4, 5}, {6, 7}, {8, 9}, {3, 2}}}, {{4, 5}, {}}, {{6}, {}}, {{7, 8}, {{9}, {1, 2, 3}}}};
  const std::vector<float> whole = TorchLm(*model).last_states(trees, 1);
  const std::vector<float> whole_means = TorchLm(*model).mean_states(trees, 1);
  REQUIRE((whole.size() == 8 * 16 && whole_means.size() == whole.size()));
  const auto inputs = [&](int64_t batch_tokens) {
    WatchedLm watched(*model);
    const std::vector<float> states = TorchLm(watched, batch_tokens).last_states(trees, 1);
    REQUIRE(states.size() == whole.size());
    for (size_t i = 0; i < states.size(); ++i) CHECK(states[i] == Approx(whole[i]).margin(1e-5));
    const std::vector<float> means = TorchLm(*model, batch_tokens).mean_states(trees, 1);
    REQUIRE(means.size() == whole_means.size());
    for (size_t i = 0; i < means.size(); ++i) CHECK(means[i] == Approx(whole_means[i]).margin(1e-5));
    return watched.inputs;
  };
  // What a batch begins with does not count: each ending on its prompt, and the two texts together.
  CHECK((inputs(1) == std::vector<int64_t>{5, 5, 5, 5, 3, 3, 5}));
  // Two endings on their prompt, twice; a prompt with one ending, beside the two texts; the other ending.
  CHECK((inputs(4) == std::vector<int64_t>{7, 7, 3, 3, 5}));
  // Trees and single texts are a pass each.
  CHECK(inputs(4096).size() == 2);
}

TEST_CASE("states of last tokens are those of the engine, shared prompts or not", "[llama][engine]") {
  for (const Settings& settings : shapes()) {
    CAPTURE(text_of(settings));
    const auto model = random_lm(settings);
    const TempDir dir;
    tensor::save_tensors(dir / "m.safetensors", model->parameters().named());
    const auto engine = engine_of(dir / "m.safetensors", settings);
    const TorchLm torch(*model);
    REQUIRE((torch.dim() == 16 && engine->dim() == 16));
    std::vector<infer::LanguageModel::Tree> trees, alone;
    const std::vector<Tokens> texts = random_sequences({6, 4, 1, 9, 1, 12, 3, 1}, kTokens, 31);
    const auto tokens = [&](size_t i) { return infer::Tokens(texts[i].begin(), texts[i].end()); };
    trees = {{tokens(0), {tokens(1), tokens(2)}}, {tokens(3), {}}, {tokens(4), {tokens(5), tokens(6)}}, {tokens(7), {}}};
    for (const auto& tree : trees) {
      if (tree.endings.empty()) alone.push_back(tree);
      for (const infer::Tokens& ending : tree.endings) {
        alone.push_back({tree.prompt, {}});
        alone.back().prompt.insert(alone.back().prompt.end(), ending.begin(), ending.end());
      }
    }
    const std::vector<float> ours = torch.last_states(trees, 1), theirs = engine->last_states(trees, 1), unshared = torch.last_states(alone, 1);
    REQUIRE((ours.size() == 6 * 16 && theirs.size() == ours.size() && unshared.size() == ours.size()));
    for (size_t i = 0; i < ours.size(); ++i) {
      CHECK(ours[i] == Approx(theirs[i]).margin(2e-4));
      CHECK(ours[i] == Approx(unshared[i]).margin(2e-4));
    }
    const std::vector<float> our_means = torch.mean_states(trees, 1), their_means = engine->mean_states(trees, 1);
    REQUIRE((our_means.size() == ours.size() && their_means.size() == ours.size()));
    for (size_t i = 0; i < ours.size(); ++i) CHECK(our_means[i] == Approx(their_means[i]).margin(2e-4));
    for (const int32_t token : {0, 5, 28}) {
      const std::vector<float> row = torch.output_row(token), other = engine->output_row(token);
      REQUIRE(row.size() == other.size());
      for (size_t d = 0; d < row.size(); ++d) CHECK(row[d] == Approx(other[d]).margin(1e-6));
    }
  }
  const auto model = random_lm(tiny({{"model.max-positions", "5"}}));
  CHECK(failure_of([&] { TorchLm(*model).last_states({{{1, 2, 3}, {{4, 5, 6}}}}, 1); }).says("5 positions"));
  CHECK(failure_of([&] { TorchLm(*model).output_row(29); }).says("outside the vocabulary"));
}

TEST_CASE("an encoder's tokens see all of their text, those of the engine too, and it predicts nothing", "[llama][engine][encoder]") {
  const std::vector<Settings> encoders{tiny({{"model.context", "full"}, {"model.max-positions", "1400"}}), tiny({{"model.context", "full"}, {"model.positions", "learned"}, {"model.kv-heads", "4"}}),
                                       tiny({{"model.context", "full"}, {"model.norm", "l1"}, {"model.attention", "polynomial"}, {"model.kv-heads", "0"}})};
  for (const Settings& settings : encoders) {
    CAPTURE(text_of(settings));
    const auto model = random_lm(settings);
    Settings past = settings;
    past["model.context"] = "past";
    const auto causal = random_lm(past);
    const int64_t length = settings.at("model.max-positions") == "1400" ? 1300 : 40;  // longer than what goes through the engine's layers at once
    const std::vector<Tokens> texts = random_sequences({3, 5, length, 1, 2}, kTokens, 8);
    // The first state depends on the last token, and a prompt's on nothing that goes on it.
    Tokens changed = texts[1];
    changed.back() = (changed.back() + 1) % kTokens;
    const auto first = [&](const Lm& of, const Tokens& text) { return of.features(data::pack({text}, -1, -1), nullptr).select(0, 0).detach(); };
    CHECK(difference(first(*model, texts[1]), first(*model, changed)) > 1e-4);
    CHECK(difference(first(*causal, texts[1]), first(*causal, changed)) < 1e-6);
    const data::PromptTree tree{texts[0], {texts[1], texts[2], texts[3]}}, other{texts[0], {texts[2]}}, alone{texts[4], {texts[1]}};
    const auto features = [&](const std::vector<const data::PromptTree*>& trees) {
      const data::TreeBatch batch = data::make_tree_batch(trees, data::LastTokens::kRead, data::Prompts::kApart);
      return std::pair(model->features(batch.input, nullptr), batch);
    };
    const auto [together, batch] = features({&tree, &alone});
    const auto [apart, single] = features({&other});
    CHECK(difference(together.narrow(0, 0, 3), apart.narrow(0, 0, 3)) < 1e-5);
    CHECK(difference(together.narrow(0, 3 + 5, length), apart.narrow(0, 3, length)) < 1e-4);
    // A prompt by itself is a text.
    CHECK(difference(together.narrow(0, 0, 3), model->features(data::pack({texts[0]}, -1, -1), nullptr)) < 1e-5);

    const TempDir dir;
    tensor::save_tensors(dir / "m.safetensors", model->parameters().named());
    const auto engine = engine_of(dir / "m.safetensors", settings);
    const TorchLm torch(*model);
    const auto tokens = [&](size_t i) { return infer::Tokens(texts[i].begin(), texts[i].end()); };
    const std::vector<infer::LanguageModel::Tree> trees{{tokens(0), {tokens(1), tokens(2), tokens(3)}}, {tokens(2), {}}, {tokens(4), {tokens(1)}}};
    for (const auto pooling : {infer::Pooling::kMean, infer::Pooling::kLast}) {
      const bool mean = pooling == infer::Pooling::kMean;
      const std::vector<float> ours = mean ? torch.mean_states(trees, 1) : torch.last_states(trees, 1), theirs = mean ? engine->mean_states(trees, 2) : engine->last_states(trees, 2);
      REQUIRE((ours.size() == 5 * 16 && theirs.size() == ours.size()));
      for (size_t i = 0; i < ours.size(); ++i) CHECK(ours[i] == Approx(theirs[i]).margin(3e-4));
    }
    CHECK(failure_of([&] { model->check_predicts(); }).says("predicts no tokens"));
    CHECK(failure_of([&] { model->start(); }).says("predicts no tokens"));
    CHECK(failure_of([&] { engine->start(1); }).says("no probabilities of tokens"));
    CHECK(failure_of([&] { engine->score({{1, 2}}, 1); }).says("no probabilities of tokens"));
    causal->check_predicts();
  }
  CHECK(failure_of([&] { lm(tiny({{"model.context", "full"}, {"model.window", "3"}})); }).says("a token sees all"));
}
