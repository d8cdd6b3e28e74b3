#pragma once
// What a config.yaml says about its model.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/options.h"
#include "io/yaml.h"

namespace seqmill::infer {

/// The entries whose key begins with "model.".
struct ModelConfig {
  std::string file, type;
  std::vector<io::ConfigEntry> entries;

  /// Declares options, which may look at "model.type" beforehand, and gives them the values of the file. Throws Error with file and line for a value
  /// that does not fit and for a key that no option has.
  void apply(const std::function<void(Options&)>& declare) const;
};

/// Throws Error for a file that does not say model.type.
ModelConfig read_model_config(const std::string& file);

}  // namespace seqmill::infer
