#include "rl/rl_training.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/strings.h"
#include "infer/engine.h"
#include "infer/lm_engine.h"
#include "io/run_dir.h"
#include "io/yaml.h"
#include "metric/bleu.h"
#include "metric/chrf.h"
#include "model/load.h"
#include "model/torch_lm.h"
#include "model/torch_translation.h"
#include "rl/graph_sampler.h"
#include "tensor/weights.h"
#include "train/trainer.h"
#include "train/vocabularies.h"

namespace seqmill::rl {
namespace {

namespace fs = std::filesystem;

/// In the run: the weights that the training began with.
constexpr const char* kReference = "reference/model.safetensors";

train::Scores corpus_scores(const std::vector<std::string>& outputs, const std::vector<Question>& questions) {
  std::vector<std::string> references;
  for (const Question& question : questions) references.push_back(question.references[0]);
  return {{"bleu", metric::corpus_score(*metric::make_bleu({}), outputs, {references})}, {"chrf", metric::corpus_score(*metric::make_chrf({}), outputs, {references})}};
}

/// What both kinds of models are trained with alike. `Model`: model::Seq2Seq or model::Lm.
template <typename Model>
class PolicySession {
 public:
  PolicySession(RlTraining& training, const RlCall& call, train::Session& session) : training_(training), call_(call), session_(session) {}
  virtual ~PolicySession() = default;

  void run() {
    std::optional<RewardSum> made;
    session_.ranks.all_at_once([&] { made.emplace(training_.rewards, call_.threads); });
    RewardSum& rewards = *made;
    prepare();
    const bool begins = session_.ranks.first() && !session_.resumes;
    const std::shared_ptr<Model> model = begins ? drawn() : built();
    log::info("{} with {} parameters, {} threads, {}, {}", training_.model_type, model->parameters().count(), call_.threads, call_.session.precision, training_.algorithm);
    std::unique_ptr<Policy> reference = reference_of(*model, begins);
    model->parameters().to(session_.device);
    const bool values = training_.learns->needs_values();
    const std::unique_ptr<Policy> policy = policy_of(model, values);
    policy->parameters().to(session_.device);
    std::vector<Input> train, valid;
    session_.ranks.all_at_once([&] {
      train = load(true, model->max_positions());
      valid = load(false, model->max_positions());
    });
    check_references(rewards, train, valid);
    if (rewards.needs_rival()) check_judge(valid);
    const std::unique_ptr<Sampler> sampler = sampler_of(*model);
    const bool scored = std::none_of(valid.begin(), valid.end(), [](const Input& input) { return input.question.references.empty(); });
    auto* const graph = dynamic_cast<GraphSampler*>(sampler.get());
    RlSetting setting{*policy, [&] { return policy_of(built(), values); }, reference.get(), *sampler, rewards, *training_.learns, training_.translates() && scored ? corpus_scores : OutputScorer(), {},
                      call_.seed, call_.threads};
    if (graph) setting.graph = [graph] { return graph->take_logprobs(); };
    const auto task = make_rl_task(setting, std::move(train), std::move(valid), training_.task, session_.ranks);
    train::train(*task, session_.run, call_.session.trainer, call_.seed, call_.progress, session_.ranks, session_.begins);
  }

 protected:
  virtual void prepare() = 0;
  virtual std::shared_ptr<Model> built() const = 0;
  /// With the weights of the source.
  virtual std::shared_ptr<Model> drawn() const = 0;
  virtual std::unique_ptr<Policy> policy_of(std::shared_ptr<Model> model, bool with_values) const = 0;
  virtual std::unique_ptr<Sampler> sampler_of(Model& model) const = 0;
  virtual std::vector<Input> load(bool trains, int64_t positions) const = 0;

  infer::ModelConfig config() const { return infer::model_config_of(io::parse_yaml(call_.config_yaml, "configuration"), "configuration"); }

  bool uses_engine(bool engine_knows) const {
    const std::string& backend = training_.sampling_backend;
    if (backend == "engine" && !session_.device.is_cpu()) fail_usage("--sampling.backend engine computes on the CPU; --device {} wants torch", call_.session.device);
    if (backend == "engine" && !engine_knows) fail_usage("--sampling.backend engine: it knows no models of type {}; torch does", training_.model_type);
    return backend == "engine" || (backend == "auto" && session_.device.is_cpu() && engine_knows);
  }
  /// The engine's model with the weights of the moment.
  template <typename Engine, typename Size>
  auto packed(const Engine& engine, const Size& vocabulary, Model& model) const {
    const tensor::InMemory weights = tensor::in_memory(model.parameters().named());
    infer::Weights taken(weights.records, training_.sampling_precision == "bf16");
    auto built = engine.build(vocabulary, taken);
    taken.check();
    return built;
  }

  RlTraining& training_;
  const RlCall& call_;
  train::Session& session_;

 private:
  bool wants_reference() const { return training_.task.rollout.kl_weight > 0 || training_.learns->needs_reference(); }

  /// The model that the training began with lies in the run: what it was taken from may change or go.
  std::unique_ptr<Policy> reference_of(Model& model, bool begins) const {
    if (!wants_reference()) return nullptr;
    const std::string file = session_.run.file(kReference);
    session_.ranks.first_then_others(
        [&] {
          if (!begins) return;
          fs::create_directories(fs::path(file).parent_path());
          tensor::save_tensors(file + ".tmp", model.parameters().named());
          fs::rename(file + ".tmp", file);
        },
        [] {});
    if (!fs::exists(file)) {
      fail("{} is not there: the model that this run began with, which {} compares with. It is kept from the beginning of a run that is held against it, and cannot be made later", file,
           training_.task.rollout.kl_weight > 0 ? "--kl.weight" : "the algorithm");
    }
    const std::shared_ptr<Model> reference = built();
    tensor::load_into(file, reference->parameters().named());
    reference->parameters().to(session_.device);
    return policy_of(reference, false);
  }

  /// A judge compares two outputs: candidates with the greedy one, and that, in validations, with the reference.
  void check_judge(const std::vector<Input>& valid) const {
    if (training_.task.rollout.dynamic.capability == "reward" || training_.task.rollout.advantage.needs_greedy()) {
      fail_usage("--reward model: a judge compares candidates with the greedy output, which has no reward of its own: --dynamic.capability reward and --advantage.baseline greedy mean nothing with it");
    }
    for (const Input& input : valid) {
      if (input.question.references.empty()) fail("{}: it has no reference, which a judge compares outputs with in validations", input.question.place);
    }
  }

  static void check_references(const RewardSum& rewards, const std::vector<Input>& train, const std::vector<Input>& valid) {
    if (!rewards.needs_references()) return;
    for (const std::vector<Input>* inputs : {&train, &valid}) {
      for (const Input& input : *inputs) {
        if (input.question.references.empty()) fail("{}: it has no reference, which a reward compares with", input.question.place);
      }
    }
  }
};

class TranslationSession final : public PolicySession<model::Seq2Seq> {
 public:
  using PolicySession::PolicySession;

 protected:
  void prepare() override {
    session_.ranks.first_then_others([&] { train::prepare_vocabularies(session_.resumes ? train::VocabularyOptions() : vocabularies_of_source(), "", "", session_.run, call_.threads); }, [] {});
    vocabularies_ = infer::load_vocabularies(session_.run.path());
  }

  std::shared_ptr<model::Seq2Seq> built() const override { return training_.translation->build(vocabularies_.sizes(), std::nullopt); }
  std::shared_ptr<model::Seq2Seq> drawn() const override {
    std::shared_ptr<model::Seq2Seq> model = training_.translation->build(vocabularies_.sizes(), call_.seed);
    const io::ModelFiles files = io::find_model(training_.start.init_from);
    model::refuse_integers(files.weights, "training cannot begin from; give the model that they were made of");
    tensor::load_into(files.weights, model->parameters().named());
    return model;
  }
  std::unique_ptr<Policy> policy_of(std::shared_ptr<model::Seq2Seq> model, bool with_values) const override {
    return make_policy(std::move(model), vocabularies_.source->eos(), vocabularies_.target->bos(), with_values);
  }

  std::unique_ptr<Sampler> sampler_of(model::Seq2Seq& model) const override {
    std::unique_ptr<Sampler> sampler = two_stage_sampler_of(model);
    if (training_.task.stages == 2) return sampler;
    return std::make_unique<GraphSampler>(model, vocabularies_, training_.sampling, std::move(sampler));
  }

  std::vector<Input> load(bool trains, int64_t positions) const override {
    const int64_t most = std::min(training_.max_length, positions - 1);
    return trains ? read_pairs(training_.train_source, training_.train_target, vocabularies_, most, "training data")
                  : read_pairs(training_.valid_source, training_.valid_target, vocabularies_, most, "validation data");
  }

 private:
  /// Those of the model that the training begins with.
  train::VocabularyOptions vocabularies_of_source() const {
    const std::string directory = io::find_model(training_.start.init_from).directory + "/";
    train::VocabularyOptions options;
    if (fs::exists(directory + "vocab.spm")) {
      options.joint = directory + "vocab.spm";
    } else {
      options.source = directory + "vocab.src.spm";
      options.target = directory + "vocab.tgt.spm";
    }
    return options;
  }

  std::unique_ptr<Sampler> two_stage_sampler_of(model::Seq2Seq& model) const {
    if (!uses_engine(infer::engine_knows(training_.model_type))) {
      return make_sampler([&model] { return std::make_unique<model::TorchTranslation>(model); }, vocabularies_, training_.sampling);
    }
    const std::shared_ptr<infer::EngineConfig> engine = infer::configure_engine(config());
    return make_sampler([this, engine, &model] { return packed(*engine, vocabularies_.sizes(), model); }, vocabularies_, training_.sampling);
  }

  infer::Vocabularies vocabularies_;
};

class LanguageSession final : public PolicySession<model::Lm> {
 public:
  using PolicySession::PolicySession;

 protected:
  void prepare() override {
    language_ = train::prepare_language(session_, training_.start, {}, {}, call_.threads);
    chat_ = text::make_chat_template(language_.chat_template, *language_.tokenizer);
  }

  std::shared_ptr<model::Lm> built() const override { return training_.start.build(language_.tokenizer->size(), std::nullopt); }
  std::shared_ptr<model::Lm> drawn() const override { return training_.start.draw(*language_.tokenizer, call_.seed); }
  std::unique_ptr<Policy> policy_of(std::shared_ptr<model::Lm> model, bool with_values) const override { return make_policy(std::move(model), with_values); }

  std::unique_ptr<Sampler> sampler_of(model::Lm& model) const override {
    if (!uses_engine(infer::lm_engine_knows(training_.model_type))) {
      return make_sampler([&model] { return std::make_unique<model::TorchLm>(model); }, *language_.tokenizer, *chat_, training_.sampling);
    }
    const std::shared_ptr<infer::LmEngineConfig> engine = infer::configure<infer::LmEngineType>(config());
    return make_sampler([this, engine, &model] { return packed(*engine, language_.tokenizer->size(), model); }, *language_.tokenizer, *chat_, training_.sampling);
  }

  std::vector<Input> load(bool trains, int64_t positions) const override {
    const int64_t room = positions - std::min(training_.sampling.max_length, positions / 2);
    const int64_t most = training_.max_prompt > 0 ? std::min(training_.max_prompt, positions - 1) : room;
    return read_prompts(trains ? training_.train : training_.valid, *chat_, *language_.tokenizer, most, training_.skip_bad, trains ? "training data" : "validation data");
  }

 private:
  train::LmLanguage language_;
  std::unique_ptr<text::ChatTemplate> chat_;
};

}  // namespace

void RlTraining::declare(Options& options) {
  start.declare_source(options, "The model that learns, of nmt-train or lm-train, and the model it is held against", "model");
  const auto& registry = Registry<AlgorithmType>::instance();
  const std::vector<std::string> known = registry.names();
  options.group("Algorithm");
  options.add("algorithm.type", algorithm, "How rewards become gradients; the options below are those of the one chosen").flag("algorithm").one_of(known);
  const std::string wanted = options.preview("algorithm", options.preview("algorithm.type", algorithm));
  learns = registry.get(std::find(known.begin(), known.end(), wanted) == known.end() ? algorithm : wanted).make();
  RolloutDefaults defaults{task.rollout.candidates, task.rollout.dynamic, task.rollout.advantage, task.passes};
  learns->set_defaults(defaults);
  task.rollout.candidates = defaults.candidates;
  task.rollout.dynamic = defaults.dynamic;
  task.rollout.advantage = defaults.advantage;
  task.passes = defaults.passes;
  learns->declare(options);
  options.add("reward", rewards, "What candidates are worth: NAME, NAME:ARGUMENT or WEIGHT*NAME, given several times for a sum; --list-rewards names them").placeholder("REWARD");
  const std::string path = options.preview("model", options.preview("init-from", ""));
  // Which options there are follows from the model: one that is not there is to be said before any of them is unknown.
  if (!start.source() && !path.empty() && options.preview("model.type", "").empty()) io::find_model(path);
  // A run that goes on has the type in its configuration, whatever became of the model that it began with.
  const std::string type = start.source() ? start.source()->type : options.preview("model.type", "transformer");
  const bool language = infer::lm_engine_knows(type);
  task.declare(options);
  options.group("Sampling");
  sampling.declare_common(options);
  language ? sampling.declare_language(options) : sampling.declare_translation(options);
  options.add("sampling.backend", sampling_backend, "What draws candidates: the inference engine with the weights of the moment, LibTorch, or the engine where it can").one_of({"auto", "engine", "torch"});
  options.add("sampling.precision", sampling_precision, "Products of the engine: fp32, or bf16 where the CPU has it").one_of({"fp32", "bf16"});
  options.group("Data");
  if (language) {
    options.add("train", train, "Prompts to learn of, JSON lines, plain or .gz; give it several times for several files").placeholder("FILE");
    options.add("valid", valid, "Prompts to validate with, likewise").placeholder("FILE");
    options.add("max-prompt", max_prompt, "Longer prompts lose their first tokens; 0: what the positions leave beside --sampling.max-length").range(0);
    options.add("skip-bad", skip_bad, "Leave out bad records instead of stopping");
    start.declare_chat(options, "How prompts are framed; default: as the model has it");
    start.declare_model(options);
    model_type = options.preview("model.type", type);
    return;
  }
  options.add("train-src", train_source, "Source text to learn of, plain or .gz; a TSV of both sides without --train-tgt").placeholder("FILE");
  options.add("train-tgt", train_target, "References, line by line").placeholder("FILE");
  options.add("valid-src", valid_source, "Source text to validate with").placeholder("FILE");
  options.add("valid-tgt", valid_target, "Its references").placeholder("FILE");
  options.add("max-length", max_length, "Leave out pairs with a side of more tokens").range(1);
  model_type = "transformer";
  translation = start.source() ? model::declare_seq2seq(options, model_type, *start.source()) : model::declare_seq2seq(options, model_type);
}

std::vector<std::string> RlTraining::scores() const {
  if (!translates()) return {"loss", "reward"};
  return {"loss", "reward", "bleu", "chrf"};
}

void RlTraining::check(const train::SessionOptions& session, int ranks) const {
  std::vector<std::string> missing;
  if (start.init_from.empty()) missing.push_back("--model");
  if (session.run.empty()) missing.push_back("--run");
  if (rewards.empty()) missing.push_back("--reward");
  if (translates()) {
    if (train_source.empty()) missing.push_back("--train-src");
    if (valid_source.empty()) missing.push_back("--valid-src");
  } else {
    if (train.empty()) missing.push_back("--train");
    if (valid.empty()) missing.push_back("--valid");
  }
  if (!missing.empty()) fail_usage("missing {}; see --help", join(missing, ", "));
  for (const std::string& file : {train_source, train_target, valid_source, valid_target}) {
    if (file == "-") fail_usage("training and validation data is read again when a run goes on and cannot be standard input ('-')");
  }
  if (std::count(train.begin(), train.end(), "-") + std::count(valid.begin(), valid.end(), "-") > 0) {
    fail_usage("training and validation data is read again when a run goes on and cannot be standard input ('-')");
  }
  sampling.check();
  if (sampling_backend == "torch" && sampling_precision != "fp32") fail_usage("--sampling.precision {} is the engine's; LibTorch draws in float32", sampling_precision);
  task.check(*learns, translates(), session.trainer.accumulate > 0 ? session.trainer.accumulate : ranks, ranks);
}

void train_policy(RlTraining& training, const RlCall& call, train::Session& session) {
  if (training.translates()) TranslationSession(training, call, session).run();
  else LanguageSession(training, call, session).run();
}

}  // namespace seqmill::rl
