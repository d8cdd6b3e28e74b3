#include "cli/help.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/strings.h"
#include "base/version.h"

namespace seqmill::cli {
namespace {

constexpr size_t kWidth = 100;
constexpr size_t kIndent = 34;

std::string wrap(const std::string& text, size_t indent) {
  std::string out;
  size_t column = indent;
  for (const std::string& word : split(text, ' ')) {
    if (column > indent && column + 1 + word.size() > kWidth) {
      out += '\n' + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      out += ' ';
      ++column;
    }
    out += word;
    column += word.size();
  }
  return out;
}

std::string flag_text(const Option& option) {
  if (option.is_flag()) {
    return option.default_text() == "true" ? fmt::format("--no-{}", option.flag_name()) : fmt::format("--{}", option.flag_name());
  }
  return fmt::format("--{} {}", option.flag_name(), option.placeholder_text());
}

std::string description(const Option& option) {
  std::string text = option.is_flag() && option.default_text() == "true" ? "Turn off: " + option.help() : option.help();
  if (!option.choices().empty()) text += fmt::format(" [{}]", join(option.choices(), ", "));
  if (option.is_list() && text.find("repeat") == std::string::npos) text += "; may be repeated";
  if (option.is_required()) {
    text += " (required)";
  } else if (!option.is_flag() && !option.default_text().empty()) {
    text += fmt::format(" (default: {})", option.default_text());
  }
  return text;
}

std::string line(const std::string& flag, const std::string& text) {
  std::string out = "  " + flag;
  if (out.size() + 2 > kIndent) {
    out += '\n' + std::string(kIndent, ' ');
  } else {
    out.resize(kIndent, ' ');
  }
  return out + wrap(text, kIndent) + '\n';
}

}  // namespace

std::string help_text(const Tool& tool, const Options& options) {
  std::string out = wrap(tool.name + ": " + tool.summary, 0) + "\n\nUsage: " + tool.name + " [OPTION]...\n";
  std::vector<std::string> groups;
  for (const auto& option : options.all()) {
    if (std::find(groups.begin(), groups.end(), option->group()) == groups.end()) groups.push_back(option->group());
  }
  for (const std::string& group : groups) {
    out += fmt::format("\n{}:\n", group);
    for (const auto& option : options.all()) {
      if (option->group() == group) out += line(flag_text(*option), description(*option));
    }
  }
  out += "\nHelp:\n" + line("-h, --help", "This text.") + line("--version", "Versions of seqmill, compiler and libraries.");
  for (const Action& action : tool.actions) out += line("--" + action.name, action.help);
  out += "\nExamples:\n";
  for (const std::string& example : tool.examples) out += "  " + example + '\n';
  out += "\nExit status: 0 done; 1 data, input/output or runtime error; 2 usage or configuration; 3 diverged or a\n"
         "gate failed; 128+n stopped by signal n.\n";
  return out;
}

std::string version_text(const Tool& tool) {
  std::string out = fmt::format("{} (seqmill) {}\n", tool.name, version());
  for (const auto& [name, value] : version_lines()) out += fmt::format("{}: {}\n", name, value);
  return out;
}

}  // namespace seqmill::cli
