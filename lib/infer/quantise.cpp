#include "infer/quantise.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/rng.h"
#include "base/strings.h"
#include "infer/engine.h"
#include "infer/model_config.h"
#include "io/line_reader.h"
#include "io/output.h"
#include "io/run_dir.h"
#include "io/safetensors.h"

namespace seqmill::infer {
namespace {

namespace fs = std::filesystem;

/// "" for what is no weight matrix: biases, norms, tables of positions.
std::string module_of(const io::TensorRecord& record) {
  const std::vector<std::string> parts = split(record.name, '.');
  if (record.shape.size() != 2 || parts.back() != "weight") return "";
  const bool encoder = parts.front() == "encoder";
  for (const std::string& part : parts) {
    if (part == "positions") return "";
    if (part == "embedding" || part == "output") return part;
    if (part == "attention") return encoder ? "encoder-attention" : "decoder-self";
    if (part == "self" || part == "cross") return "decoder-" + part;
    if (part == "ffn") return encoder ? "encoder-ffn" : "decoder-ffn";
  }
  return "";
}

/// The integer for a number of so many steps.
int32_t rounded(double steps, const std::string& rounding, Rng& rng) {
  if (rounding == "trunc") return static_cast<int32_t>(steps * (1 + 1e-6));  // the largest number is a whole step, but for the rounding of its scale
  if (rounding == "stochastic") return static_cast<int32_t>(std::floor(steps + rng.uniform()));
  return static_cast<int32_t>(std::round(steps));  // half away from zero
}

struct Integers {
  std::vector<int8_t> numbers;
  std::vector<float> scales;
};

Integers quantise(const std::string& name, const float* weight, int64_t outputs, int64_t inputs,
                  const QuantiseOptions& options, uint64_t seed, TensorReport& report) {
  const int32_t limit = (1 << (options.bits - 1)) - 1;
  const auto largest_of = [&](int64_t first, int64_t count) {
    float largest = 0;
    for (int64_t i = first; i < first + count; ++i) largest = std::max(largest, std::fabs(weight[i]));
    return largest;
  };
  Integers integers;
  integers.numbers.reserve(static_cast<size_t>(outputs * inputs));
  const float whole = options.weight_scale == "tensor" ? largest_of(0, outputs * inputs) : 0;
  Rng rng(seed, "quantise/" + name);
  double squared_error = 0, square = 0;
  int64_t at_limit = 0;
  for (int64_t o = 0; o < outputs; ++o) {
    const float largest = options.weight_scale == "tensor" ? whole : largest_of(o * inputs, inputs);
    // A row of zeros, or of numbers too small to have a scale, is zeros with scale 1.
    const float wanted = static_cast<float>(limit) / largest;
    const float scale = largest > 0 && std::isfinite(wanted) ? wanted : 1.0F;
    integers.scales.push_back(scale);
    for (int64_t k = 0; k < inputs; ++k) {
      const double real = static_cast<double>(weight[o * inputs + k]);
      const int32_t number = std::clamp(rounded(real * static_cast<double>(scale), options.rounding, rng), -limit, limit);
      integers.numbers.push_back(static_cast<int8_t>(number));
      const double error = real - number / static_cast<double>(scale);
      squared_error += error * error;
      square += real * real;
      at_limit += std::abs(number) == limit;
    }
  }
  report.error = square > 0 ? std::sqrt(squared_error / square) : 0;
  report.at_limit = static_cast<double>(at_limit) / static_cast<double>(std::max<int64_t>(1, outputs * inputs));
  return integers;
}

bool begins_with_name(const std::string& name, const std::string& beginning) {
  return name == beginning || starts_with(name, beginning + ".");
}

void check_names(const QuantiseOptions& options, const std::vector<io::TensorRecord>& tensors) {
  for (const std::string& kept : options.keep) {
    const auto matches = [&](const io::TensorRecord& record) { return begins_with_name(record.name, kept); };
    if (std::none_of(tensors.begin(), tensors.end(), matches)) fail_usage("--keep-fp {}: the model has no tensor of that name or beginning", kept);
  }
  for (const std::string& module : options.modules) {
    const auto matches = [&](const io::TensorRecord& record) { return module_of(record) == module; };
    if (std::none_of(tensors.begin(), tensors.end(), matches)) fail_usage("--int8-modules {}: this model has no such module{}", module,
                 module == "output" ? "; its output layer is its embedding (model.tie), which is module embedding" : "");
  }
}

/// A directory that is removed again, unless it has got another name by then.
class Unfinished {
 public:
  explicit Unfinished(std::string path) : path_(std::move(path)) {
    std::error_code code;
    fs::create_directories(path_, code);
    if (code) fail("cannot make {}: {}", path_, code.message());
  }
  ~Unfinished() {
    std::error_code code;
    fs::remove_all(path_, code);
  }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

 private:
  std::string path_;
};

}  // namespace

void QuantiseOptions::declare(Options& options) {
  options.add("mode", mode, "dynamic: 8-bit weights, activations rounded around each product while decoding").one_of({"dynamic"});
  options.add("bits", bits, "Bits of the weights").range(4, 8);
  options.add("w-scale", weight_scale, "A scale for each output channel, or one for each tensor").one_of({"channel", "tensor"});
  options.add("round", rounding, "How numbers become integers").one_of({"nearest", "trunc", "stochastic"});
  options.add("int8-modules", modules, "Only these modules: " + join(modules_of_model(), ", ")).one_of(modules_of_model());
  options.add("keep-fp", keep, "Leave these tensors as they are: names or their beginnings, such as decoder.5.ffn").placeholder("NAME");
}

std::vector<std::string> modules_of_model() {
  return {"embedding", "output", "encoder-attention", "encoder-ffn", "decoder-self", "decoder-cross", "decoder-ffn"};
}

std::vector<TensorReport> quantise_model(const std::string& model, const std::string& output, const QuantiseOptions& options, uint64_t seed) {
  const io::ModelFiles files = io::find_model(model);
  if (const ModelConfig config = read_model_config(files.config); !engine_knows(config.type)) {
    fail("{}: the engine cannot decode models of type '{}', so there is no use in quantising one", files.config, config.type);
  }
  fs::path target = fs::path(output).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "models/int8/"
  std::error_code code;
  if (fs::exists(target, code)) fail("{} exists; give another --output or remove it", output);
  if (code) fail("cannot look for {}: {}", output, code.message());
  const io::SafetensorsFile file(files.weights);
  check_names(options, file.tensors());
  const fs::path parent = target.has_parent_path() ? target.parent_path() : fs::path(".");
  const std::string temporary = (parent / fmt::format(".{}.tmp-{}", target.filename().string(), getpid())).string();
  const Unfinished cleaner(temporary);
  Weights weights({files.weights});
  std::vector<TensorReport> reports;
  std::vector<io::TensorRecord> records;
  std::vector<Integers> kept;
  kept.reserve(file.tensors().size());  // records point into it
  for (const io::TensorRecord& record : file.tensors()) {
    if (record.dtype == io::DType::kI8) fail("{}: {} holds 8-bit integers: the model is quantised already", files.weights, record.name);
    int64_t count = 1;
    for (const int64_t size : record.shape) count *= size;
    const Numbers numbers = weights.take(record.name, record.shape);
    weights.check_fit();  // of another type than floating-point
    for (int64_t i = 0; i < count; ++i) {
      if (!std::isfinite(numbers.data()[i])) {
        fail("{}: {} holds {} at {}: a model that has diverged cannot be quantised", files.weights, record.name, numbers.data()[i], i);
      }
    }
    TensorReport report;
    report.name = record.name;
    report.module = module_of(record);
    report.bytes_before = report.bytes_after = record.bytes();
    const bool chosen = options.modules.empty() || std::find(options.modules.begin(), options.modules.end(), report.module) != options.modules.end();
    const bool stays = std::any_of(options.keep.begin(), options.keep.end(), [&](const std::string& name) { return begins_with_name(record.name, name); });
    if (report.module.empty() || !chosen || stays) {
      records.push_back(record);
      reports.push_back(report);
      continue;
    }
    const int64_t outputs = record.shape[0], inputs = record.shape[1];
    kept.push_back(quantise(record.name, numbers.data(), outputs, inputs, options, seed, report));
    io::TensorRecord integers = record, scales;
    integers.dtype = io::DType::kI8;
    integers.data = kept.back().numbers.data();
    scales.name = record.name + ".scale";
    scales.shape = {outputs};
    scales.data = kept.back().scales.data();
    report.quantised = true;
    report.bytes_after = integers.bytes() + scales.bytes();
    records.push_back(integers);
    records.push_back(scales);
    reports.push_back(report);
  }
  io::write_safetensors(temporary + "/model.safetensors", records,
                        {{"format", "seqmill-int8"}, {"mode", options.mode}, {"bits", std::to_string(options.bits)}});
  io::write_file(temporary + "/config.yaml", io::read_file(files.config));
  for (const std::string& companion : io::model_companions(files.directory)) {
    if (companion != "config.yaml") io::write_file(temporary + "/" + companion, io::read_file(files.directory + "/" + companion));
  }
  load_in_engine(temporary, 0);  // what will be found can be read
  fs::rename(temporary, target, code);
  if (code) fail("cannot rename {} to {}: {}", temporary, output, code.message());
  io::sync_directory(parent.string());
  return reports;
}

}  // namespace seqmill::infer
