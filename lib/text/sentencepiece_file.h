#pragma once
// What SentencePiece itself does not check in a model file before it trusts it.

#include <string>
#include <string_view>

namespace seqmill::text {

/// Returns "" when `model`, a serialised ModelProto, is safe to load, else what is wrong with it. Its normaliser
/// walks a double-array trie of the file without bounds checks: here every step it could take is checked against
/// the array and the table of texts.
std::string find_model_damage(std::string_view model);

}  // namespace seqmill::text
