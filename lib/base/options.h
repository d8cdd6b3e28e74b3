#pragma once
// How a part of the program says which options it has. A plain struct with defaults owns `void declare(Options&)`, which
// names each field once; command line, configuration files, `--help` and `--dump-config` are all derived from that. Keys are
// kebab-case; a dot makes a section: "model.dim" is `--model.dim 512` and, in YAML, `model: {dim: 512}`.

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace seqmill {

class Option {
 public:
  /// Only these values are accepted.
  Option& one_of(std::vector<std::string> choices);
  /// Inclusive bounds of a number.
  Option& range(double low, double high = std::numeric_limits<double>::infinity());
  /// Must be given, in a file or as a flag.
  Option& required();
  /// The placeholder in the help, e.g. "FILE".
  Option& placeholder(std::string name);
  /// On the command line it is --name, not its key: for a word that is also a section of keys ("--loss dpo" beside "loss.beta": its key is "loss.type").
  Option& flag(std::string name);
  /// About one call and not about the result: left out of `--dump-config` and of a run's config.yaml.
  Option& transient();

  const std::string& key() const { return key_; }
  const std::string& flag_name() const { return flag_.empty() ? key_ : flag_; }  ///< without the dashes
  const std::string& help() const { return help_; }
  const std::string& group() const { return group_; }
  const std::string& placeholder_text() const { return placeholder_; }
  const std::vector<std::string>& choices() const { return choices_; }
  const std::string& default_text() const { return default_text_; }
  bool is_flag() const { return is_flag_; }
  bool is_list() const { return is_list_; }
  bool is_required() const { return required_; }
  bool is_transient() const { return transient_; }
  bool is_given() const { return given_; }

  /// Sets the field. Returns "" or what is wrong ("'abc' is not an integer"). A list replaces what an earlier source gave.
  std::string set(const std::vector<std::string>& values);
  /// The present value(s) as text.
  std::vector<std::string> values() const { return get_(); }

 private:
  friend class Options;
  std::string key_, flag_, help_, group_, placeholder_, default_text_;
  std::vector<std::string> choices_;
  double low_ = -std::numeric_limits<double>::infinity(), high_ = std::numeric_limits<double>::infinity();
  bool is_flag_ = false, is_list_ = false, is_number_ = false, required_ = false, transient_ = false, given_ = false;
  std::function<std::string(const std::vector<std::string>&)> set_;
  std::function<std::vector<std::string>()> get_;
};

class Options {
 public:
  /// Options added from here on stand under this title in the help.
  void group(std::string title) { group_ = std::move(title); }

  /// The field must outlive the Options; its present value is the default. A key may be added once.
  Option& add(const std::string& key, int64_t& field, const std::string& help);
  Option& add(const std::string& key, double& field, const std::string& help);
  Option& add(const std::string& key, std::string& field, const std::string& help);
  Option& add(const std::string& key, std::vector<std::string>& field, const std::string& help);
  /// A switch: `--key` or `--no-key`.
  Option& add(const std::string& key, bool& field, const std::string& help);

  /// What the user gave for `key`, seen before anything is declared: lets a registered name choose which options exist. On the command line that is the flag --key.
  std::string preview(const std::string& key, const std::string& fallback) const;
  void set_previews(std::map<std::string, std::string> previews) { previews_ = std::move(previews); }

  const std::vector<std::unique_ptr<Option>>& all() const { return options_; }
  Option* find(const std::string& key) const;
  Option* find_flag(const std::string& name) const;

 private:
  Option& insert(const std::string& key, const std::string& help, const char* placeholder);

  std::string group_ = "Options";
  std::vector<std::unique_ptr<Option>> options_;
  std::map<std::string, std::string> previews_;
};

}  // namespace seqmill
