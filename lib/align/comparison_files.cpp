#include "align/comparison_files.h"

#include <algorithm>

#include "base/error.h"
#include "base/strings.h"
#include "text/fitting.h"

namespace seqmill::align {
void ComparisonFiles::declare(Options& options) {
  options.group("Data");
  options.add("train", train, "Training comparisons, JSON lines or a JSON array, plain or .gz; give it several times for several files").placeholder("FILE");
  options.add("valid", valid, "Validation comparisons, likewise").placeholder("FILE");
  records.declare(options);
  options.add("window", window, "Tokens that the model sees of a prompt with an answer; what is longer is cut. 0: model.max-positions, at most 512").range(0);
}

void ComparisonFiles::check_given(const std::string& model, const std::string& run) const {
  std::vector<std::string> missing;
  if (model.empty()) missing.push_back("--model");
  if (run.empty()) missing.push_back("--run");
  if (train.empty()) missing.push_back("--train");
  if (valid.empty()) missing.push_back("--valid");
  if (!missing.empty()) fail_usage("missing {}; see --help", join(missing, ", "));
}

void ComparisonFiles::resolve(int64_t max_positions) {
  for (const std::vector<std::string>* files : {&train, &valid}) {
    if (std::find(files->begin(), files->end(), "-") != files->end()) fail_usage("training and validation data is read again when a run goes on and cannot be standard input ('-')");
  }
  if (window == 0) window = text::usual_window(max_positions);
  if (window > max_positions) fail_usage("--window {}: the model has {} positions (model.max-positions)", window, max_positions);
}

}  // namespace seqmill::align
