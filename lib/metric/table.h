#pragma once
// Columns for people's eyes.

#include <string>
#include <vector>

namespace seqmill::metric {

/// Rows of cells with every column as wide as its widest cell, two spaces between columns, one line each. Cells that hold a
/// number are set to the right.
std::string format_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace seqmill::metric
