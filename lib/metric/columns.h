#pragma once
// Tables of statistics from files ("-": standard input; .gz is read too). Everything wrong with a line is an error that names
// file and line.

#include <cstdint>
#include <string>
#include <vector>

namespace seqmill::metric {

/// Lines of two tab-separated numbers, or of two numbers and a group. Infinite values are errors, as is an empty file.
struct NumberColumns {
  std::vector<double> x, y;
  std::vector<std::string> groups;  ///< empty, or one per line
};
NumberColumns read_number_columns(const std::string& path);

/// Lines of two tab-separated labels.
struct LabelColumns {
  std::vector<std::string> a, b;
};
LabelColumns read_label_columns(const std::string& path);

/// JSON lines: {"n": samples, "c": passed} or {"results": [true, false, ...]} (numbers 0 and 1 do too).
struct PassRecord {
  int64_t n, c;
};
std::vector<PassRecord> read_pass_records(const std::string& path);

}  // namespace seqmill::metric
