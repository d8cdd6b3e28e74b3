#pragma once
// What computes a model: the engine of this folder, or LibTorch, whose library is opened when it is asked for.

#include <cstdint>
#include <string>

#include "base/options.h"
#include "infer/language_model.h"
#include "infer/translation_model.h"

namespace seqmill::infer {

struct BackendOptions {
  std::string backend = "auto";  ///< engine, torch; auto: the engine on the CPU for the models it knows, else torch
  std::string device = "cpu";    ///< cpu; with torch cuda and cuda:N too
  std::string precision = "fp32";  ///< of the engine's products: fp32, bf16; those of 8-bit models are in integers
  int64_t average = 0;           ///< > 0: the mean of this many newest checkpoints of a run

  void declare(Options& options);
};

/// Loads the model at `path`: model directory, checkpoint or run. `threads` is what the process may use. Throws Error for files that do not fit
/// together and a usage error for a backend that cannot do what is asked for.
LoadedModel load_translation_model(const std::string& path, const BackendOptions& options, int threads);

/// What libseqmill.so gives to programs that are not linked to it.
struct TorchLibrary {
  void (*set_up)(int threads);
  LoadedModel (*load)(const std::string& path, int64_t average, const std::string& device);
  LoadedLanguageModel (*load_lm)(const std::string& path, int64_t average, const std::string& device);
};

/// Opened when it is first asked for, for `threads` threads.
const TorchLibrary& torch_library(int threads);

/// Throws a usage error for options that contradict one another, and for what this machine has not.
void check_backend(const BackendOptions& options);

}  // namespace seqmill::infer

/// Of libseqmill.so.
extern "C" const seqmill::infer::TorchLibrary* seqmill_torch_library();
