#include "io/output.h"
#include "io/run_dir.h"
#include "models.h"

using namespace seqmill;
using namespace seqmill::model;
using namespace seqmill::test;
namespace fs = std::filesystem;

namespace {

const Settings kSettings = small({{"positions", "learned"}, {"max-positions", "9"}});

std::string yaml_of(const Settings& settings) {
  std::string yaml = "seed: 7\nmodel:\n  type: " + type_of(settings) + "\n";
  for (const auto& [key, value] : settings) {
    if (key != "type") yaml += "  " + key + ": " + value + "\n";
  }
  return yaml + "warmup: 12\n";
}

VocabularySizes letter_sizes() { return shared_letters().sizes(); }

void put_vocabulary(const std::string& directory, const std::string& name, int64_t size) {
  text::VocabularyTraining training;
  training.size = size;
  training.byte_fallback = false;
  std::string text;
  for (const std::string& line : random_lines(80, 3)) text += line + "\n";
  const TempDir dir;
  text::train_vocabulary({put(dir / "text", text)}, training, directory + "/" + name);
}

void save_weights(Seq2Seq& model, const std::string& path) {
  std::vector<tensor::NamedTensor> weights;
  for (const nn::Parameter& parameter : model.parameters().all()) weights.emplace_back(parameter.name, parameter.value);
  tensor::save_tensors(path, weights);
}

/// A model directory of `model`.
void put_model(const std::string& directory, Seq2Seq& model, const Settings& settings = kSettings) {
  fs::create_directories(directory);
  put(directory + "/config.yaml", yaml_of(settings));
  put_vocabulary(directory, "vocab.spm", 13);
  save_weights(model, directory + "/model.safetensors");
}

double largest_difference(Seq2Seq& a, Seq2Seq& b) {
  double worst = 0;
  REQUIRE(a.parameters().all().size() == b.parameters().all().size());
  for (size_t i = 0; i < a.parameters().all().size(); ++i) {
    REQUIRE(a.parameters().all()[i].name == b.parameters().all()[i].name);
    worst = std::max(worst, difference(a.parameters().all()[i].value, b.parameters().all()[i].value));
  }
  return worst;
}

Failure config_failure(const std::string& config) {
  const TempDir dir;
  put(dir / "config.yaml", config);
  Failure failure = failure_of([&] { build_seq2seq(dir / "config.yaml", {20, 20, true}); });
  const size_t at = failure.message.find(dir.path());
  if (at != std::string::npos) failure.message.erase(at, dir.path().size() + 1);
  return failure;
}

}  // namespace

TEST_CASE("a model directory is loaded as it was saved", "[load]") {
  const TempDir dir;
  for (const Settings& settings : grid()) {
    const auto model = random_model(settings, letter_sizes());
    fs::remove_all(dir / "m");
    put_model(dir / "m", *model, settings);
    const LoadedSeq2Seq loaded = load_seq2seq(dir / "m");
    CHECK(largest_difference(*model, *loaded.model) == 0);
    CHECK(loaded.vocabularies.shared());
    CHECK(loaded.vocabularies.source->size() == 13);
    const data::Batch batch = batch_of({{5, 6, 7}}, {{8, 9}});
    CHECK(same_bits(model->target_logprobs(batch), loaded.model->target_logprobs(batch)));
    for (const nn::Parameter& parameter : loaded.model->parameters().all()) CHECK_FALSE(parameter.value.requires_grad());
  }
}

TEST_CASE("a run gives its best checkpoint, else its last, or the one that is named", "[load]") {
  const TempDir dir;
  io::RunDir run(dir / "run");
  put(run.file("config.yaml"), yaml_of(kSettings));
  put_vocabulary(run.path(), "vocab.spm", 13);
  std::vector<std::unique_ptr<Seq2Seq>> models;
  for (const int64_t update : {1, 2, 3}) {
    models.push_back(random_model(kSettings, letter_sizes(), static_cast<uint64_t>(update)));
    const auto write = [&](const std::string& directory) { save_weights(*models.back(), directory + "/model.safetensors"); };
    run.save_checkpoint(update, write);
  }
  CHECK(largest_difference(*load_seq2seq(run.path()).model, *models[2]) == 0);
  run.link("best", "step-00000002");
  CHECK(largest_difference(*load_seq2seq(run.path()).model, *models[1]) == 0);
  CHECK(largest_difference(*load_seq2seq(run.file("ckpt/last")).model, *models[2]) == 0);
  CHECK(largest_difference(*load_seq2seq(run.file("ckpt/step-00000001")).model, *models[0]) == 0);

  const LoadedSeq2Seq mean = load_seq2seq(run.path(), 2);
  for (size_t i = 0; i < mean.model->parameters().all().size(); ++i) {
    const auto value = [&](size_t m) { return models[m]->parameters().all()[i].value.detach().to(at::kDouble); };
    CHECK(difference(mean.model->parameters().all()[i].value, (value(1) + value(2)) / 2) < 1e-7);
    CHECK_FALSE(mean.model->parameters().all()[i].value.requires_grad());
  }
  CHECK(largest_difference(*load_seq2seq(run.path(), 1).model, *models[2]) == 0);  // the newest, not the best
  const auto reordered = [&](const std::string& directory) {
    std::vector<tensor::NamedTensor> weights;
    for (const nn::Parameter& parameter : models[0]->parameters().all()) weights.emplace_back(parameter.name, parameter.value);
    std::reverse(weights.begin(), weights.end());
    tensor::save_tensors(directory + "/model.safetensors", weights);
  };
  run.save_checkpoint(4, reordered);
  CHECK(largest_difference(*load_seq2seq(run.path(), 1).model, *models[0]) == 0);
  run.remove_checkpoint("step-00000004");
  const Failure few = failure_of([&] { load_seq2seq(run.path(), 4); });
  CHECK(few.exit_code == kExitFailure);
  CHECK(few.says(run.path() + " holds 3 checkpoints, 4 are to be averaged"));
}

TEST_CASE("separate vocabularies are loaded for their sides", "[load]") {
  const TempDir dir;
  put_vocabulary(dir.path(), "vocab.src.spm", 13);
  put_vocabulary(dir.path(), "vocab.tgt.spm", 20);
  const Vocabularies vocabularies = load_vocabularies(dir.path());
  CHECK_FALSE(vocabularies.shared());
  const VocabularySizes sizes = vocabularies.sizes();
  CHECK((sizes.source == 13 && sizes.target == 20 && !sizes.shared));
  fs::remove(dir / "vocab.tgt.spm");
  CHECK(failure_of([&] { load_vocabularies(dir.path()); }).says("vocab.tgt.spm"));
  fs::remove(dir / "vocab.src.spm");
  CHECK(failure_of([&] { load_vocabularies(dir.path()); }).says("vocab.spm"));
}

TEST_CASE("weights that do not fit the configuration are listed", "[load]") {
  const TempDir dir;
  const auto model = random_model(kSettings, letter_sizes());
  put_model(dir / "m", *model);
  const auto failure_with = [&](const Settings& more) {
    Settings settings = kSettings;
    for (const auto& [key, value] : more) settings[key] = value;
    put(dir / "m/config.yaml", yaml_of(settings));
    return failure_of([&] { load_seq2seq(dir / "m"); });
  };
  const Failure missing = failure_with({{"encoder-layers", "3"}, {"tie", "none"}});
  CHECK(missing.exit_code == kExitFailure);
  CHECK(missing.says(dir / "m/model.safetensors"));
  CHECK(missing.says("missing: "));
  CHECK(missing.says("encoder.2.attention.qkv.weight"));
  CHECK(missing.says("output.weight"));
  CHECK_FALSE(missing.says("unexpected"));
  CHECK_FALSE(missing.says("encoder.1."));
  const Failure unexpected = failure_with({{"decoder-layers", "1"}, {"tie", "all"}});
  CHECK(unexpected.says("unexpected: "));
  CHECK(unexpected.says("decoder.1.cross.kv.bias"));
  CHECK(unexpected.says("encoder.embedding.weight"));
  CHECK_FALSE(unexpected.says("missing"));
  const Failure misshapen = failure_with({{"ffn", "32"}});
  CHECK(misshapen.says("encoder.0.ffn.up.weight: shape [24, 16] where [32, 16] is needed"));
  fs::remove(dir / "m/model.safetensors");
  CHECK(failure_with({}).says(dir / "m"));
}

TEST_CASE("a vocabulary of another size does not fit the weights", "[load]") {
  const TempDir dir;
  put_model(dir / "m", *random_model(kSettings, letter_sizes()));
  put_vocabulary(dir / "m", "vocab.spm", 20);
  CHECK(failure_of([&] { load_seq2seq(dir / "m"); }).says("decoder.embedding.weight: shape [13, 16] where [20, 16]"));
}

TEST_CASE("a wrong configuration is reported with file and line", "[load]") {
  const Failure unknown = config_failure("model:\n  type: transformer\n  dims: 16\n");
  CHECK(unknown.exit_code != kExitDone);
  CHECK(unknown.says("config.yaml:3: "));
  CHECK(unknown.says("model.dims"));
  const Failure number = config_failure("model:\n  type: transformer\n  heads: 2\n  dim: sixteen\n");
  CHECK(number.says("config.yaml:4: model.dim: 'sixteen' is not an integer"));
  CHECK(config_failure("model:\n  type: transformer\n  norm: prae\n").says("config.yaml:3: model.norm: 'prae' is not one of"));
  CHECK(config_failure("model:\n  type: transformer\n  dim: [16, 8]\n").says("config.yaml:3: model.dim: takes one value"));
  const Failure type = config_failure("model:\n  type: transfomer\n");
  CHECK(type.exit_code == kExitFailure);
  CHECK(type.says("config.yaml:2: model.type: 'transfomer' is not one of"));
  CHECK(type.says("did you mean 'transformer'?"));
  CHECK(config_failure("seed: 1\n").says("does not say model.type"));
  CHECK(config_failure("model:\n  type: transformer\n  dim: 15\n  heads: 3\n").exit_code == kExitUsage);
  // Keys of other parts of the program are none of the model's business.
  CHECK(config_failure("model:\n  type: transformer\n  dim: 16\n  heads: 2\nbatch-tokens: many\n").exit_code == kExitDone);
}
