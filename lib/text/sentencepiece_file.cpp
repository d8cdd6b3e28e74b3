#include "text/sentencepiece_file.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/strings.h"

namespace seqmill::text {
namespace {

constexpr uint64_t kMaxPieces = uint64_t{1} << 24;

// Field numbers of sentencepiece_model.proto.
enum ModelField { kPieces = 1, kTrainer = 2, kNormalizer = 3, kDenormalizer = 5 };
enum PieceField { kText = 1, kScore = 2 };
enum TrainerField { kModelType = 3, kWhiteSpaceAsSuffix = 24 };
constexpr uint64_t kBpe = 2;
enum NormalizerField { kCharsMap = 2, kAddDummyPrefix = 3, kRemoveExtraWhiteSpaces = 4 };

enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// Walks the fields of one protobuf message.
class Fields {
 public:
  explicit Fields(std::string_view bytes) : rest_(bytes) {}

  uint64_t number = 0;
  uint64_t type = 0;
  uint64_t value = 0;      // of a varint
  std::string_view bytes;  // of a length-delimited or fixed field

  bool ok() const { return ok_; }

  bool next() {
    if (rest_.empty() || !ok_) return false;
    const uint64_t tag = varint();
    number = tag >> 3;
    type = tag & 7;
    switch (type) {
      case kVarint: value = varint(); break;
      case kFixed64: take(8); break;
      case kFixed32: take(4); break;
      case kBytes: take(varint()); break;
      default: ok_ = false;
    }
    return ok_;
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    ok_ = false;
    return 0;
  }

  void take(uint64_t size) {
    ok_ = ok_ && size <= rest_.size();
    if (!ok_) return;
    bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
  }

  std::string_view rest_;
  bool ok_ = true;
};

uint32_t load_word(std::string_view bytes, size_t index) {
  const auto* p = reinterpret_cast<const unsigned char*>(bytes.data()) + 4 * index;
  return p[0] | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
         static_cast<uint32_t>(p[3]) << 24;
}

// One unit of Darts-clone's double array: bit 31 marks a stored value; else bits 10..30 are the offset to the
// children, shifted by 8 when bit 9 is set, and bit 8 says that a value lies at the offset itself.
struct Unit {
  uint32_t bits;
  bool is_value() const { return bits >> 31; }
  bool has_value() const { return (bits >> 8) & 1; }
  uint32_t offset() const { return (bits >> 10) << ((bits & (1U << 9)) >> 6); }
  uint32_t value() const { return bits & 0x7FFFFFFF; }
};

std::string find_trie_damage(std::string_view trie, std::string_view texts) {
  const size_t count = trie.size() / 4;
  for (size_t i = 0; i < count; ++i) {
    const Unit unit{load_word(trie, i)};
    // The label of a value matches no byte, so that no walk goes on from one; but every walk begins at unit 0,
    // whatever it is.
    if (unit.is_value() && i > 0) continue;
    const size_t children = i ^ unit.offset();
    if ((children | 0xFF) >= count) return "a normalisation rule points outside its table";
    if (unit.has_value() && Unit{load_word(trie, children)}.value() >= texts.size()) {
      return "a normalisation rule points outside its texts";
    }
  }
  return "";
}

std::string find_chars_map_damage(std::string_view map) {
  if (map.empty()) return "";
  if (map.size() < 4) return "the table of normalisation rules is too short";
  const uint32_t trie_bytes = load_word(map, 0);
  map.remove_prefix(4);
  if (trie_bytes >= map.size() || trie_bytes == 0 || trie_bytes % 4 != 0) {
    return fmt::format("the table of normalisation rules says it has {} bytes, of {}", trie_bytes, map.size());
  }
  const std::string_view texts = map.substr(trie_bytes);
  if (texts.back() != '\0') return "the texts of the normalisation rules have no end";
  return find_trie_damage(map.substr(0, trie_bytes), texts);
}

std::string find_normalizer_damage(std::string_view message) {
  Fields fields(message);
  while (fields.next()) {
    if (fields.number != kCharsMap) continue;
    const std::string damage =
        fields.type == kBytes ? find_chars_map_damage(fields.bytes) : "a normalisation rule has a wrong type";
    if (!damage.empty()) return damage;
  }
  return fields.ok() ? "" : "the normaliser is damaged";
}

std::string find_piece_damage(std::string_view message) {
  Fields fields(message);
  while (fields.next()) {
    if (fields.number == kText) {
      if (fields.type != kBytes || fields.bytes.empty()) return "has no text";
      if (fields.bytes.find('\0') != std::string_view::npos) return "holds a NUL byte";
      if (find_invalid_utf8(fields.bytes) != std::string_view::npos) return "is not valid UTF-8";
    } else if (fields.number == kScore) {
      if (fields.type != kFixed32) return "has a score of a wrong type";
      const uint32_t bits = load_word(fields.bytes, 0);
      float score;
      std::memcpy(&score, &bits, sizeof score);
      if (!std::isfinite(score)) return "has a score that is no finite number";
    }
  }
  return fields.ok() ? "" : "is damaged";
}

}  // namespace

std::string find_model_damage(std::string_view model) {
  Fields fields(model);
  uint64_t pieces = 0;
  while (fields.next()) {
    const bool is_message = fields.type == kBytes;
    if (fields.number == kPieces) {
      const std::string damage = is_message ? find_piece_damage(fields.bytes) : "is no message";
      if (!damage.empty()) return fmt::format("piece {} {}", pieces, damage);
      if (++pieces > kMaxPieces) return fmt::format("it has more than {} pieces", kMaxPieces);
    } else if (fields.number == kNormalizer || fields.number == kDenormalizer) {
      const std::string damage =
          is_message ? find_normalizer_damage(fields.bytes) : "the normaliser is no message";
      if (!damage.empty()) return damage;
    }
  }
  if (!fields.ok()) return "it is truncated or no SentencePiece model";
  return pieces > 0 ? "" : "it has no pieces; expected a SentencePiece model";
}

SentencePieceTraits sentencepiece_traits(std::string_view model) {
  SentencePieceTraits traits;
  for (Fields fields(model); fields.next();) {
    if (fields.type != kBytes) continue;
    Fields inner(fields.bytes);
    while (fields.number == kTrainer && inner.next()) {
      if (inner.number == kModelType) traits.is_bpe = inner.value == kBpe;
      if (inner.number == kWhiteSpaceAsSuffix) traits.dummy_suffix = inner.value != 0;
    }
    while (fields.number == kNormalizer && inner.next()) {
      if (inner.number == kAddDummyPrefix) traits.dummy_prefix = inner.value != 0;
      if (inner.number == kRemoveExtraWhiteSpaces) traits.removes_extra_spaces = inner.value != 0;
      if (inner.number == kCharsMap) traits.has_rules = !inner.bytes.empty();
    }
  }
  return traits;
}

// Of a message that stands twice, Protocol Buffers take what the second says and keep what only the first says.
std::string without_dummy_prefix(std::string_view model) {
  const char no_prefix[] = {kNormalizer << 3 | kBytes, 2, kAddDummyPrefix << 3 | kVarint, 0};
  return std::string(model).append(no_prefix, sizeof no_prefix);
}

}  // namespace seqmill::text
