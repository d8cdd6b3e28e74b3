#include "infer/backend.h"

#include <dlfcn.h>

#include "base/error.h"
#include "base/plugin.h"
#include "infer/engine.h"
#include "kernel/packed_bf16.h"

namespace seqmill::infer {

const TorchLibrary& torch_library(int threads) {
  static const TorchLibrary& loaded = [threads]() -> const TorchLibrary& {
    const auto entry = reinterpret_cast<decltype(&seqmill_torch_library)>(plugin_symbol(
        "libseqmill.so.0", "seqmill_torch_library", RTLD_NOW | RTLD_LOCAL, "what the engine does not compute needs a seqmill that was built with LibTorch"));
    const TorchLibrary& library = *entry();
    library.set_up(threads);
    return library;
  }();
  return loaded;
}

void check_backend(const BackendOptions& options) {
  const bool rounds = options.precision == "bf16", on_cpu = options.device == "cpu";
  if (rounds && !kernel::has_bfloat16_products()) fail_usage("--precision bf16: this CPU has no bfloat16 products (AVX512-BF16)");
  if (options.backend == "engine" && !on_cpu) fail_usage("--backend engine computes on the CPU; --device {} needs --backend torch", options.device);
}

void BackendOptions::declare(Options& options) {
  options.add("backend", backend, "What computes: the engine (CPU), LibTorch, or auto: the engine where it can").one_of({"auto", "engine", "torch"}).transient();
  options.add("device", device, "Where to compute: cpu, cuda or cuda:N").transient();
  options.add("precision", precision, "Products of the engine: fp32, or bf16 where the CPU has it (8-bit models: integers)").one_of({"fp32", "bf16"});
  options.add("average", average, "Use the mean of this many newest checkpoints of each run").range(0);
}

LoadedModel load_translation_model(const std::string& path, const BackendOptions& options, int threads) {
  check_backend(options);
  const bool rounds = options.precision == "bf16", on_cpu = options.device == "cpu";
  if (options.backend != "torch" && on_cpu) {
    const ModelSource source(path);
    if (options.backend == "engine" || engine_knows(source.config.type)) return load_in_engine(source, options.average, rounds);
  }
  if (rounds) fail_usage("--precision bf16 is the engine's; --backend torch translates in fp32");
  return torch_library(threads).load(path, options.average, options.device);
}

}  // namespace seqmill::infer
