#pragma once
// Finding the rows of weights that are made of parts: what packed matrices of all number types are laid out from.

#include <algorithm>
#include <vector>

#include "base/threads.h"
#include "kernel/packed.h"

namespace seqmill::kernel {

constexpr int64_t size_of(NumberType type) { return type == NumberType::kFloat32 ? 4 : 2; }

template <typename Part>
int64_t rows_of(const std::vector<Part>& parts) {
  int64_t rows = 0;
  for (const Part& part : parts) rows += part.rows;
  return rows;
}

/// Calls work(part, index in the part) for the rows first .. first + count - 1 of all.
template <typename Part, typename Work>
void for_each_row(const std::vector<Part>& parts, int64_t first, int64_t count, Work work) {
  int64_t begin = 0;
  for (const Part& part : parts) {
    for (int64_t row = std::max(first, begin); row < std::min(first + count, begin + part.rows); ++row) work(part, row - begin);
    begin += part.rows;
  }
}

/// Calls work(panel, outputs of it) for the panels of `columns` outputs, each thread for some of them: `make()` makes a thread's work.
template <typename Make>
void share_panels(int64_t outputs, int64_t columns, Make make) {
  parallel_for((outputs + columns - 1) / columns, 1, [&](int64_t begin, int64_t end) {
    auto work = make();
    for (int64_t panel = begin; panel < end; ++panel) work(panel, std::min(columns, outputs - panel * columns));
  });
}

}  // namespace seqmill::kernel
