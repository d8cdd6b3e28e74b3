#pragma once
// What SentencePiece itself does not check in a model file before it trusts it.

#include <string>
#include <string_view>

namespace seqmill::text {

/// Returns "" when `model`, a serialised ModelProto, is safe to load, else what is wrong with it. Its normaliser
/// walks a double-array trie of the file without bounds checks: here every step it could take is checked against
/// the array and the table of texts.
std::string find_model_damage(std::string_view model);

/// What a model without damage does with white space.
struct SentencePieceTraits {
  bool is_bpe = false;              ///< rather than unigram, words or characters
  bool dummy_prefix = true;         ///< a space is put before a text
  bool dummy_suffix = false;        ///< or behind it instead
  bool removes_extra_spaces = true;
  bool has_rules = false;           ///< characters are normalised
};
SentencePieceTraits sentencepiece_traits(std::string_view model);

/// The same model without a space put before a text.
std::string without_dummy_prefix(std::string_view model);

}  // namespace seqmill::text
