#pragma once

#include <filesystem>
#include <string>

namespace seqmill::test {

/// Whether `open` writes the file anew: its inode, held by a link, is no longer the file's.
template <typename Open>
bool rewrites(const std::string& file, Open open) {
  const std::string link = file + ".link";
  std::filesystem::remove(link);
  std::filesystem::create_hard_link(file, link);
  open();
  return !std::filesystem::equivalent(file, link);
}

}  // namespace seqmill::test
