#include "infer/backend.h"

#include <dlfcn.h>

#include "base/error.h"
#include "base/threads.h"
#include "infer/engine.h"
#include "infer/model_config.h"
#include "io/run_dir.h"
#include "kernel/packed_bf16.h"

namespace seqmill::infer {
namespace {

constexpr const char* kTorchLibrary = "libseqmill.so.0";

/// It lies beside the library that this function is part of.
std::string torch_library_path() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&torch_library_path), &info) == 0 || !info.dli_fname) return kTorchLibrary;
  const std::string self = info.dli_fname;
  const size_t slash = self.rfind('/');
  return slash == std::string::npos ? kTorchLibrary : self.substr(0, slash + 1) + kTorchLibrary;
}

const TorchLibrary& torch_library(int threads) {
  static const TorchLibrary& loaded = [threads]() -> const TorchLibrary& {
    const std::string path = torch_library_path();
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) fail("--backend torch: cannot load {}: {}; was seqmill built with LibTorch?", path, dlerror());
    const auto entry = reinterpret_cast<decltype(&seqmill_torch_library)>(dlsym(handle, "seqmill_torch_library"));
    if (!entry) fail("{} is not seqmill's: {}", path, dlerror());
    const TorchLibrary& library = *entry();
    library.set_up(threads);
    return library;
  }();
  return loaded;
}

bool takes_engine(const std::string& path, const BackendOptions& options) {
  if (options.backend == "engine") {
    if (options.device != "cpu") fail_usage("--backend engine computes on the CPU; --device {} needs --backend torch", options.device);
    return true;
  }
  return options.backend == "auto" && options.device == "cpu" && engine_knows(read_model_config(io::find_model(path).config).type);
}

}  // namespace

void BackendOptions::declare(Options& options) {
  options.add("backend", backend, "What computes: the engine (CPU), LibTorch, or auto: the engine where it can").one_of({"auto", "engine", "torch"}).transient();
  options.add("device", device, "Where to compute: cpu, cuda or cuda:N").transient();
  options.add("precision", precision, "Products of the engine: fp32, or bf16 where the CPU has it (8-bit models: integers)").one_of({"fp32", "bf16"});
  options.add("average", average, "Use the mean of this many newest checkpoints of each run").range(0);
}

LoadedModel load_translation_model(const std::string& path, const BackendOptions& options, int threads) {
  const bool rounds = options.precision == "bf16";
  if (rounds && !kernel::has_bfloat16_products()) fail_usage("--precision bf16: this CPU has no bfloat16 products (AVX512-BF16)");
  if (takes_engine(path, options)) return load_in_engine(path, options.average, rounds);
  if (rounds) fail_usage("--precision bf16 is the engine's; --backend torch translates in fp32");
  return torch_library(threads).load(path, options.average, options.device);
}

}  // namespace seqmill::infer
