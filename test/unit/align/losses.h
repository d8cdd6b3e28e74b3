#pragma once
// Losses of preferences as tests make and call them.

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "align/preference_loss.h"
#include "unit/tensor/tensors.h"

namespace seqmill::align {

/// `settings`: options without "loss.".
inline std::unique_ptr<PreferenceLoss> make_loss(const std::string& name, const std::map<std::string, std::string>& settings = {}) {
  auto loss = Registry<PreferenceLossType>::instance().get(name).make();
  Options options;
  loss->declare(options);
  for (const auto& [key, value] : settings) {
    Option* option = options.find("loss." + key);
    REQUIRE(option);
    REQUIRE(option->set({value}).empty());
  }
  return loss;
}

inline std::vector<std::string> loss_names() { return Registry<PreferenceLossType>::instance().names(); }

inline at::Tensor doubles(const std::vector<double>& values) { return at::tensor(values, at::kDouble); }

}  // namespace seqmill::align
