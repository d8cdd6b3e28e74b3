#pragma once
// Configuration files. YAML is read strictly: duplicate keys, anchors, non-scalar list items and scalars of the wrong type are
// errors that name file and line. A file is a tree of mappings whose leaves are scalars or lists of scalars; here it is flat,
// with dotted keys.

#include <string>
#include <vector>

namespace seqmill::io {

struct ConfigEntry {
  std::string key;                  ///< "model.dim"
  std::vector<std::string> values;  ///< scalars as written
  bool is_list = false;
  std::string file;
  int line = 0;  ///< 1-based; 0 when it did not come from a file
};

/// Reads one file. Throws Error(exit 2) naming file and line for anything malformed; Error(exit 1) when it cannot be read.
std::vector<ConfigEntry> read_yaml(const std::string& path);
/// The same from memory; `name` stands for the file in messages.
std::vector<ConfigEntry> parse_yaml(const std::string& text, const std::string& name);

/// Block-style YAML that `parse_yaml` reads back to the same entries. Entries of one section need not be neighbours.
std::string emit_yaml(const std::vector<ConfigEntry>& entries);

}  // namespace seqmill::io
