#pragma once
// Choosing among registered architectures, for each kind of model alike.

#include <algorithm>
#include <string>
#include <utility>

#include "base/options.h"
#include "base/registry.h"

namespace seqmill::model {

/// Declares "model.type" and the options of the type that the user chose. `preset`: the options of `type`, where they are to have other defaults than usual.
template <typename Type, typename Config = decltype(std::declval<Type>().config())>
Config declare_type(Options& options, std::string& type, Config preset = nullptr) {
  options.group("Model");
  const auto& registry = Registry<Type>::instance();
  const std::vector<std::string> known = registry.names();
  options.add("model.type", type, "Architecture; the options below are those of the type chosen").one_of(known);
  // An unknown type is reported when the option is set, which knows file and line.
  const std::string chosen = options.preview("model.type", type);
  const bool is_known = std::find(known.begin(), known.end(), chosen) != known.end();
  Config config = preset && (!is_known || chosen == type) ? std::move(preset) : registry.get(is_known ? chosen : type).config();
  config->declare(options);
  return config;
}

/// "name  paper" lines.
template <typename Type>
std::string list_types() {
  std::string lines;
  const auto& registry = Registry<Type>::instance();
  size_t width = 0;
  for (const std::string& name : registry.names()) width = std::max(width, name.size());
  for (const std::string& name : registry.names()) lines += fmt::format("{:<{}}  {}\n", name, width, registry.get(name).paper);
  return lines;
}

}  // namespace seqmill::model
