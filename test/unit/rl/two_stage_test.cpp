// Stage 1 against stage 2: what is sampled has the log-probabilities that one teacher-forced pass finds.

#include <numeric>

#include "loss/cross_entropy.h"
#include "model/torch_lm.h"
#include "rl/graph_sampler.h"
#include "rl/policy.h"
#include "rl/sampler.h"
#include "support/letter_template.h"
#include "unit/model/translators.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::rl;
using namespace seqmill::test;

namespace {

std::unique_ptr<Lm> byte_lm(const std::map<std::string, std::string>& more = {}) {
  Options options;
  std::string type = "llama";
  const auto config = declare_lm(options, type);
  std::map<std::string, std::string> settings{{"dim", "16"}, {"ffn", "20"}, {"layers", "2"}, {"heads", "4"}, {"kv-heads", "2"}, {"max-positions", "40"}};
  for (const auto& [key, value] : more) settings[key] = value;
  for (const auto& [key, value] : settings) REQUIRE(options.find("model." + key)->set({value}).empty());
  auto lm = config->build(ByteTokenizer().size(), 1);
  uint64_t seed = 1;
  for (const nn::Parameter& parameter : lm->parameters().all()) parameter.value.detach().add_(normals(parameter.value.sizes(), ++seed * 1000) * 0.3);
  return lm;
}

const std::vector<infer::Tokens> kSources{{5, 6, 7, 8}, {4}, {9, 9, 10, 11, 5, 6, 7}, {8, 4, 6}};

/// Of inputs, numbered as they stand, so many samples at a temperature.
std::vector<Draw> draws_of(const std::vector<infer::Tokens>& inputs, int64_t samples, double temperature = 1) {
  std::vector<Draw> draws;
  for (const infer::Tokens& input : inputs) draws.push_back({&input, "input " + std::to_string(draws.size()), static_cast<int64_t>(draws.size()), samples, temperature});
  return draws;
}

SamplingOptions short_ones() {
  SamplingOptions options;
  options.max_length = 9;
  options.max_extra = 9;
  return options;
}

Candidates candidates_of(const infer::Tokens& input, const std::vector<Drawn>& drawn) {
  Candidates candidates{input, {}};
  for (const Drawn& one : drawn) candidates.endings.push_back(one.tokens);
  return candidates;
}

/// Log-probabilities of all tokens by a pass for each beginning of each candidate: what decoding without a cache does.
template <typename Score>
at::Tensor step_by_step(const std::vector<Candidates>& all, Score score) {
  std::vector<at::Tensor> tokens;
  for (const Candidates& candidates : all) {
    for (const infer::Tokens& ending : candidates.endings) {
      for (size_t t = 1; t <= ending.size(); ++t) {
        const Candidates beginning{candidates.prompt, {{ending.begin(), ending.begin() + static_cast<std::ptrdiff_t>(t)}}};
        tokens.push_back(score(beginning).slice(0, -1));
      }
    }
  }
  return at::cat(tokens);
}

std::vector<const Candidates*> pointers(const std::vector<Candidates>& all) {
  std::vector<const Candidates*> pointers;
  for (const Candidates& candidates : all) pointers.push_back(&candidates);
  return pointers;
}

bool same(const Drawn& a, const Drawn& b) { return a.tokens == b.tokens && a.text == b.text && a.finished == b.finished && std::abs(a.logprob - b.logprob) < 1e-4; }

/// All that is true of any sampler and the policy that it samples of.
void check_stages(Sampler& sampler, const Policy& policy, const std::vector<infer::Tokens>& inputs) {
  sampler.take_weights();
  const auto drawn = sampler.draw(draws_of(inputs, 5), 3, 2);
  std::vector<Candidates> all;
  for (size_t i = 0; i < inputs.size(); ++i) all.push_back(candidates_of(inputs[i], drawn[i]));
  const at::Tensor logprobs = policy.score(pointers(all), nullptr).logprobs;
  int64_t row = 0;
  bool cut = false, ended = false;
  for (const std::vector<Drawn>& candidates : drawn) {
    REQUIRE(candidates.size() == 5);
    for (const Drawn& one : candidates) {
      const auto length = static_cast<int64_t>(one.tokens.size());
      CHECK(logprobs.narrow(0, row, length).sum().item<double>() == Approx(one.logprob).margin(2e-3));
      CHECK(one.drawn_logprob == Approx(one.logprob).margin(2e-3));
      CHECK(one.length == length - (one.finished ? 1 : 0));
      CHECK(one.observed.steps >= length);
      (one.finished ? ended : cut) = true;
      row += length;
    }
  }
  CHECK((row == logprobs.size(0) && cut && ended));
  // Whatever is drawn beside it, and by however many threads.
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto alone = sampler.draw({{&inputs[i], "alone", static_cast<int64_t>(i), 2, 1}}, 3, 1);
    CHECK((same(alone[0][0], drawn[i][0]) && same(alone[0][1], drawn[i][1])));
  }
  CHECK_FALSE(same(sampler.draw(draws_of(inputs, 1), 4, 1)[0][0], drawn[0][0]));
  // Greedy ones are one each; hot and cold ones differ.
  std::vector<Draw> mixed = draws_of(inputs, 3);
  mixed[0].temperature = 0;
  mixed[1].temperature = 0.3;
  const auto several = sampler.draw(mixed, 3, 2);
  CHECK((several[0].size() == 1 && several[1].size() == 3));
  CHECK(same(several[2][0], drawn[2][0]));
  const auto greedy = sampler.draw(draws_of(inputs, 1, 0), 3, 1), again = sampler.draw(draws_of(inputs, 1, 0), 99, 1);
  for (size_t i = 0; i < inputs.size(); ++i) CHECK(same(greedy[i][0], again[i][0]));
  CHECK(same(several[0][0], greedy[0][0]));
}

}  // namespace

TEST_CASE("translations: stage 2 finds what stage 1 drew with", "[rl][esrl]") {
  const std::shared_ptr<Seq2Seq> model = letter_model();
  const infer::Vocabularies vocabularies = shared_letters();
  const auto sampler = make_sampler([&] { return std::make_unique<TorchTranslation>(*model); }, vocabularies, short_ones());
  check_stages(*sampler, *make_policy(model, kEos, kBos), kSources);
}

TEST_CASE("answers: stage 2 finds what stage 1 drew with", "[rl][esrl]") {
  const std::shared_ptr<Lm> lm = byte_lm();
  // Answers end often enough to see it.
  const ByteTokenizer tokenizer;
  class Ending final : public LetterTemplate {
   public:
    const std::vector<int32_t>& ends() const override { return ends_; }

   private:
    std::vector<int32_t> ends_{1, 40, 60, 80, 100, 120, 140, 160, 180, 200, 220, 240};
  } chat;
  const auto sampler = make_sampler([&] { return std::make_unique<TorchLm>(*lm); }, tokenizer, chat, short_ones());
  check_stages(*sampler, *make_policy(lm), kSources);
  sampler->take_weights();
  const infer::Tokens too_long(40, 5);
  CHECK(failure_of([&] { sampler->draw({{&too_long, "record x", 0, 1, 1}}, 1, 1); }).says("record x: the prompt takes all 40 positions"));
  CHECK(failure_of([&] { sampler->draw({{&kSources[0], "a", 1, 1, 1}, {&kSources[1], "b", 1, 1, 1}}, 1, 1); }).says("two draws of one number"));
}

TEST_CASE("one pass is what a pass for each step is, to 1e-10 with its gradient, and dropout breaks it", "[rl][esrl]") {
  const auto check = [](nn::Parameters& parameters, const Policy& policy) {
    const std::vector<Candidates> all{{kSources[0], {{5, 6, 2}, {7, 2}, {9, 9, 9, 9}}}, {kSources[1], {{2}}}, {kSources[2], {{4, 5}, {6, 7, 8, 2}}}};
    const auto alone = [&](const Candidates& candidates) { return policy.score({&candidates}, nullptr).logprobs; };
    const at::Tensor together = policy.score(pointers(all), nullptr).logprobs, apart = step_by_step(all, alone);
    REQUIRE(together.scalar_type() == at::kDouble);
    CHECK(difference(together, apart) < 1e-10);
    const at::Tensor advantages = normals(together.sizes(), 4, at::kDouble);
    const auto gradient = [&](const at::Tensor& logprobs) {
      (logprobs * advantages).sum().backward();
      std::vector<at::Tensor> flat;
      for (const nn::Parameter& parameter : parameters.all()) {
        flat.push_back(parameter.value.grad().defined() ? parameter.value.grad().clone().view({-1}) : at::zeros({parameter.value.numel()}, at::kDouble));
        if (parameter.value.grad().defined()) parameter.value.mutable_grad() = at::Tensor();
      }
      return at::cat(flat);
    };
    const at::Tensor expected = gradient(apart);
    CHECK(expected.abs().max().item<double>() > 0.1);
    CHECK(difference(gradient(together), expected) < 1e-10);
    tensor::DropoutStream dropout{1, 2, 3, 4};
    CHECK(difference(policy.score(pointers(all), &dropout).logprobs, apart) > 1e-3);
    // A longer neighbour changes nothing.
    const std::vector<Candidates> more{all[0], {kSources[2], {{4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 2}}}};
    CHECK(difference(policy.score(pointers(more), nullptr).logprobs.narrow(0, 0, 9), together.narrow(0, 0, 9)) < 1e-12);
  };
  const std::shared_ptr<Seq2Seq> model = general_twin(small({{"dropout", "0.3"}}), shared_letters().sizes());
  check(model->parameters(), *make_policy(model, kEos, kBos));
  const std::shared_ptr<Lm> lm = byte_lm({{"dropout", "0.3"}});
  lm->parameters().to(at::kCPU, at::kDouble);
  check(lm->parameters(), *make_policy(lm));
}

TEST_CASE("a value head gives each token a value, from zero on, and learns with the model", "[rl][ppo]") {
  const std::shared_ptr<Seq2Seq> model = letter_model();
  const size_t before = model->parameters().all().size();
  const auto policy = make_policy(model, kEos, kBos, true);
  CHECK(policy->parameters().all().size() == before + 2);
  const std::vector<Candidates> all{{kSources[0], {{5, 6, 2}, {7, 2}}}, {kSources[1], {{2}}}};
  const TokenScores scores = policy->score(pointers(all), nullptr);
  CHECK((scores.values.sizes() == scores.logprobs.sizes() && scores.values.abs().max().item<double>() == 0));
  at::square(scores.values - 1).sum().backward();
  for (const nn::Parameter& parameter : policy->parameters().all()) {
    if (parameter.name == io::kValueWeight || parameter.name == io::kValueBias) CHECK(parameter.value.grad().abs().max().item<double>() > 0);
  }
  const std::shared_ptr<Seq2Seq> bare = letter_model();
  CHECK_FALSE(make_policy(bare, kEos, kBos)->score(pointers(all), nullptr).values.defined());
}

TEST_CASE("one stage draws what two stages draw, with a graph whose gradient is that of stage 2", "[rl][esrl]") {
  const std::shared_ptr<Seq2Seq> one = letter_model(), two = letter_model();
  const infer::Vocabularies vocabularies = shared_letters();
  SamplingOptions options = short_ones();
  options.min_length = 2;
  options.top_k = 6;
  const auto view = [&](const std::shared_ptr<Seq2Seq>& model) { return make_sampler([&model] { return std::make_unique<TorchTranslation>(*model); }, vocabularies, options); };
  const auto sampler = view(two);
  GraphSampler graph(*one, vocabularies, options, view(one));
  sampler->take_weights();
  graph.take_weights();
  std::vector<Draw> draws = draws_of(kSources, 4);
  draws[1].temperature = 0.5;
  draws[2].samples = 2;
  const auto expected = sampler->draw(draws, 3, 1), found = graph.draw(draws, 3, 1);
  std::vector<Candidates> all;
  for (size_t i = 0; i < draws.size(); ++i) {
    REQUIRE(found[i].size() == expected[i].size());
    for (size_t s = 0; s < found[i].size(); ++s) {
      CHECK(same(found[i][s], expected[i][s]));
      CHECK(found[i][s].length == expected[i][s].length);
      CHECK(found[i][s].drawn_logprob == Approx(expected[i][s].drawn_logprob).margin(1e-3));
      CHECK(found[i][s].observed.entropy == Approx(expected[i][s].observed.entropy).margin(1e-2));
    }
    all.push_back(candidates_of(kSources[i], found[i]));
  }
  const at::Tensor ours = graph.take_logprobs(), theirs = make_policy(two, kEos, kBos)->score(pointers(all), nullptr).logprobs;
  CHECK(difference(ours, theirs) < 1e-3);
  CHECK_FALSE(graph.take_logprobs().defined());
  const at::Tensor advantages = normals(ours.sizes(), 4);
  (ours * advantages).sum().backward();
  (theirs * advantages).sum().backward();
  for (size_t i = 0; i < one->parameters().all().size(); ++i) {
    CHECK(difference(one->parameters().all()[i].value.grad(), two->parameters().all()[i].value.grad()) < 2e-2);
  }
  for (Draw& draw : draws) draw.temperature = 0;
  CHECK(same(graph.draw(draws, 3, 1)[0][0], sampler->draw(draws, 3, 1)[0][0]));
}
