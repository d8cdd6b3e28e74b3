#include "infer/language_model.h"

#include "base/error.h"

namespace seqmill::infer {
namespace {

[[noreturn]] void fail_no_states() {
  fail("this model gives no hidden states: models of integers throughout (int8-quantize --mode scale-propagation) do not; --mode dynamic does");
}

}  // namespace

int64_t LanguageModel::dim() const { fail_no_states(); }
std::vector<float> LanguageModel::last_states(const std::vector<Tree>&, int) const { fail_no_states(); }
std::vector<float> LanguageModel::mean_states(const std::vector<Tree>&, int) const { fail_no_states(); }
std::vector<float> LanguageModel::output_row(int32_t) const { fail_no_states(); }

}  // namespace seqmill::infer
