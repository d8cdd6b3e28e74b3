#include "infer/integer_settings.h"

#include "base/error.h"
#include "base/strings.h"

namespace seqmill::infer {
namespace {

template <typename Value>
using Names = std::vector<std::pair<std::string, Value>>;

const Names<Granularity> kGranularities{{"sentence", Granularity::kSentence}, {"row", Granularity::kRow}, {"head", Granularity::kHead}};
const Names<kernel::Rescaling> kRescalings{{"max", kernel::Rescaling::kMax}, {"pow2", kernel::Rescaling::kPow2}, {"always", kernel::Rescaling::kAlways}};
const Names<kernel::Rounding> kRoundings{{"nearest", kernel::Rounding::kNearest}, {"trunc", kernel::Rounding::kTruncate}};

template <typename Value>
Value value_of(const Names<Value>& names, const std::string& key, const std::string& text) {
  for (const auto& [name, value] : names) {
    if (name == text) return value;
  }
  fail("the weights say {} = '{}', which is not known: make the model anew with int8-quantize", key, text);
}

template <typename Value>
std::string name_of(const Names<Value>& names, Value value) {
  for (const auto& [name, known] : names) {
    if (known == value) return name;
  }
  return "";
}

}  // namespace

int64_t IntegerSettings::limit_of(const std::string& scope) const {
  for (const std::string& one : wide) {
    if (scope == one || starts_with(scope, one + ".")) return integer_limit(kWideBits);
  }
  return integer_limit(bits);
}

std::map<std::string, std::string> IntegerSettings::metadata() const {
  return {{"bits", std::to_string(bits)},
          {"granularity", name_of(kGranularities, how.granularity)},
          {"rescale", name_of(kRescalings, how.rescaling)},
          {"round", name_of(kRoundings, how.rounding)},
          {"wide", join(wide, ",")}};
}

Requantising requantising_of(const std::string& granularity, const std::string& rescaling, const std::string& rounding) {
  return {value_of(kGranularities, "granularity", granularity), value_of(kRescalings, "rescale", rescaling), value_of(kRoundings, "round", rounding)};
}

IntegerSettings read_integer_settings(const Weights& weights) {
  IntegerSettings settings;
  const std::string bits = weights.metadata("bits");
  const bool known = bits == "16" || (bits.size() == 1 && bits[0] >= '4' && bits[0] <= '8');
  if (!known) fail("the weights say bits = '{}', which is not known: make the model anew with int8-quantize", bits);
  settings.bits = std::stoll(bits);
  settings.how = requantising_of(weights.metadata("granularity"), weights.metadata("rescale"), weights.metadata("round"));
  if (const std::string wide = weights.metadata("wide"); !wide.empty()) settings.wide = split(wide, ',');
  return settings;
}

}  // namespace seqmill::infer
