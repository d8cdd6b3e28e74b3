#include "io/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <memory>
#include <sstream>

#include "base/error.h"
#include "base/strings.h"
#include "io/line_reader.h"

namespace seqmill::io {
namespace {

constexpr size_t kMaxDepth = 16;
constexpr int64_t kMaxBytes = int64_t{1} << 24;

bool is_key_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == '.';
}

bool is_key(const std::string& key) {
  return !key.empty() && key.front() != '.' && key.back() != '.' && key.find("..") == std::string::npos &&
         std::all_of(key.begin(), key.end(), is_key_character);
}

// Receives yaml-cpp's events. Its Node interface is no use here: it keeps the first of duplicate keys without a
// word and loses the places of most things.
class Collector : public YAML::EventHandler {
 public:
  Collector(const std::string& file, std::vector<ConfigEntry>& entries) : file_(file), entries_(entries) {}

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (started_) fail_at(mark, "a second document starts here, expected one document a file");
    started_ = true;
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check_node(mark, "", anchor);
    if (levels_.empty()) return;  // an empty file
    if (expects_key()) fail_at(mark, "found no key (empty, ~ or null), expected a name");
    fail_at(mark, "'{}' has no value (empty, ~ or null); for an empty text write ''", place());
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail_at(mark, "found an alias (*), expected the value itself");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_node(mark, tag, anchor);
    if (levels_.empty()) fail_at(mark, "found a lone value, expected lines of 'key: value'");
    if (expects_key()) {
      open_key(mark, value);
    } else if (levels_.back().is_list) {
      entries_.back().values.push_back(value);
    } else {
      entries_.push_back({place(), {value}, false, file_, key_line_});
      close_key();
    }
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    check_node(mark, tag, anchor);
    if (levels_.empty()) fail_at(mark, "found a list, expected lines of 'key: value'");
    if (expects_key()) fail_at(mark, "found a list, expected a key");
    if (levels_.back().is_list) fail_at(mark, "found a list inside the list '{}', expected plain values", place());
    entries_.push_back({place(), {}, true, file_, key_line_});
    levels_.push_back({true, false, 0});
  }

  void OnSequenceEnd() override {
    levels_.pop_back();
    close_key();
  }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    check_node(mark, tag, anchor);
    if (levels_.size() == kMaxDepth) fail_at(mark, "nested deeper than {} levels", kMaxDepth);
    if (!levels_.empty() && levels_.back().is_list) {
      fail_at(mark, "found keys inside the list '{}', expected plain values", place());
    }
    if (expects_key()) fail_at(mark, "found a mapping, expected a key");
    levels_.push_back({false, false, path_.size()});
  }

  void OnMapEnd() override {
    levels_.pop_back();
    if (!levels_.empty()) close_key();
  }

 private:
  struct Level {
    bool is_list;
    bool has_key;      // a key was read and its value is next
    size_t path_size;  // of path_ where this mapping began
  };

  template <typename... Args>
  [[noreturn]] void fail_at(const YAML::Mark& mark, fmt::format_string<Args...> format, Args&&... args) const {
    fail_usage("{}:{}: {}", file_, mark.line + 1, fmt::format(format, std::forward<Args>(args)...));
  }

  bool expects_key() const { return !levels_.empty() && !levels_.back().is_list && !levels_.back().has_key; }
  std::string place() const { return join(path_, "."); }

  void check_node(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != YAML::NullAnchor) fail_at(mark, "found an anchor (&), expected a plain value");
    // "?" is a plain value and "!" a quoted one.
    if (!tag.empty() && tag != "?" && tag != "!") fail_at(mark, "found the tag '{}', expected a plain value", tag);
  }

  void open_key(const YAML::Mark& mark, const std::string& key) {
    if (!is_key(key))
      fail_at(mark, "'{}' is no key; keys are made of letters, digits, '-', '_' and '.'", key.substr(0, 100));
    path_.push_back(key);
    const std::string full = place();
    if (std::count(full.begin(), full.end(), '.') >= static_cast<std::ptrdiff_t>(kMaxDepth)) {
      fail_at(mark, "the key '{}' has more than {} parts", full.substr(0, 100), kMaxDepth);
    }
    const auto [earlier, inserted] = lines_.emplace(full, mark.line + 1);
    if (!inserted) {
      fail_at(mark, "the key '{}' stands in line {} already; remove one of the two", earlier->first,
              earlier->second);
    }
    levels_.back().has_key = true;
    key_line_ = mark.line + 1;
  }

  void close_key() {
    levels_.back().has_key = false;
    path_.resize(levels_.back().path_size);
  }

  const std::string& file_;
  std::vector<ConfigEntry>& entries_;
  bool started_ = false;
  int key_line_ = 0;
  std::vector<Level> levels_;
  std::vector<std::string> path_;
  std::map<std::string, int> lines_;  // of all keys and sections
};

int line_of(const std::string& text, size_t offset) {
  return 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n'));
}

void check_text(const std::string& text, const std::string& name) {
  if (const size_t bad = find_invalid_utf8(text); bad != std::string::npos) {
    fail_usage("{}:{}: byte 0x{:02X} is not valid UTF-8, expected YAML in UTF-8", name, line_of(text, bad),
               static_cast<unsigned char>(text[bad]));
  }
  const auto is_control = [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == '\x7f';
  };
  const auto control = std::find_if(text.begin(), text.end(), is_control);
  if (control != text.end()) {
    fail_usage("{}:{}: found the control character 0x{:02X}, expected YAML", name,
               line_of(text, static_cast<size_t>(control - text.begin())), static_cast<unsigned char>(*control));
  }
}

// Plain scalars are kept to what this file's reader takes for itself: it has no types, so that 010 and yes are texts here.
bool is_plain(const std::string& value) {
  const auto is_word = [](char c) { return is_key_character(c) || c == '/' || c == '+'; };
  if (value.empty() || !std::all_of(value.begin(), value.end(), is_word)) return false;
  if (value == "null" || value == "Null" || value == "NULL") return false;
  const bool is_number = value.front() == '-' && value.size() > 1 && value[1] >= '0' && value[1] <= '9';
  return value.front() != '-' || is_number;
}

std::string scalar(const std::string& value) {
  if (is_plain(value)) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f') {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

// The entries as a tree, in the order in which each section is first named.
struct Section {
  const ConfigEntry* entry = nullptr;
  std::vector<std::pair<std::string, std::unique_ptr<Section>>> parts;

  Section& part(const std::string& name) {
    for (auto& [known, section] : parts) {
      if (known == name) return *section;
    }
    return *parts.emplace_back(name, std::make_unique<Section>()).second;
  }

  void emit(const std::string& name, size_t depth, std::string& out) const {
    const std::string indent(2 * depth, ' ');
    if (entry && entry->is_list) {
      out += fmt::format("{}{}:{}\n", indent, name, entry->values.empty() ? " []" : "");
      for (const std::string& value : entry->values) out += fmt::format("{}  - {}\n", indent, scalar(value));
    } else if (entry) {
      out += fmt::format("{}{}: {}\n", indent, name, scalar(entry->values.empty() ? "" : entry->values[0]));
    }
    if (parts.empty()) return;
    // A key that is a value and a section at once cannot be nested: its parts keep their dotted names.
    if (!entry) out += fmt::format("{}{}:\n", indent, name);
    for (const auto& [part_name, section] : parts) {
      section->emit(entry ? name + "." + part_name : part_name, entry ? depth : depth + 1, out);
    }
  }
};

}  // namespace

std::vector<ConfigEntry> parse_yaml(const std::string& text, const std::string& name) {
  check_text(text, name);
  std::vector<ConfigEntry> entries;
  // yaml-cpp takes the end of the file for a closing quote, but only right after a line end: so something follows
  // it.
  std::istringstream stream(text + "\n#");
  try {
    YAML::Parser parser(stream);
    Collector collector(name, entries);
    while (parser.HandleNextDocument(collector)) {
    }
  } catch (const YAML::Exception& error) {
    const int line = std::clamp(error.mark.line + 1, 1, std::max(1, line_of(text, text.size()) - 1));
    const bool open = error.msg == YAML::ErrorMsg::EOF_IN_SCALAR;
    fail_usage("{}:{}: not valid YAML: {}", name, line, open ? "a quoted text is not closed" : error.msg);
  }
  return entries;
}

std::vector<ConfigEntry> read_yaml(const std::string& path) {
  return parse_yaml(read_file(path, kMaxBytes), path);
}

std::string emit_yaml(const std::vector<ConfigEntry>& entries) {
  Section root;
  for (const ConfigEntry& entry : entries) {
    Section* section = &root;
    for (const std::string& part : split(entry.key, '.')) section = &section->part(part);
    section->entry = &entry;
  }
  std::string out;
  for (const auto& [name, section] : root.parts) section->emit(name, 0, out);
  return out;
}

}  // namespace seqmill::io
