#include "cli/tool_main.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <new>

#include "base/error.h"
#include "base/exit.h"
#include "base/host.h"
#include "base/log.h"
#include "base/strings.h"
#include "base/threads.h"
#include "cli/help.h"
#include "cli/launch.h"
#include "io/yaml.h"

namespace seqmill::cli {
namespace {

struct CommonOptions {
  std::vector<std::string> config;
  bool dump_config = false;
  int64_t seed = 1;
  int64_t threads = 0;
  bool quiet = false;
  std::string log_level = "info";
  std::string color = "auto";

  void declare(Options& options) {
    options.group("Common");
    options.add("config", config, "Read options from this YAML file; later files and flags win; short: -c")
        .placeholder("FILE")
        .transient();
    options.add("dump-config", dump_config, "Print the resolved configuration as YAML and stop").transient();
    options.add("seed", seed, "Seed of the named random streams").range(0);
    options.add("threads", threads, "Threads to use; 0: all cores this process may use, or fewer if OMP_NUM_THREADS says so").range(0, 4096);
    options.add("quiet", quiet, "Show warnings and errors only").transient();
    options.add("log-level", log_level, "Least severe message to show")
        .one_of({"debug", "info", "warning", "error", "off"})
        .transient();
    options.add("color", color, "Colours on standard error; NO_COLOR wins over auto")
        .one_of({"auto", "always", "never"})
        .transient();
  }
};

using ConfigEntries = std::vector<io::ConfigEntry>;

/// The configuration files named on the command line, found before any option is known.
std::vector<std::string> scan_config_files(const std::vector<std::string>& arguments) {
  std::vector<std::string> files;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if ((word == "-c" || word == "--config") && i + 1 == arguments.size()) fail_usage("{} needs a file", word);
    if (word == "-c" || word == "--config") {
      files.push_back(arguments[++i]);
    } else if (starts_with(word, "--config=")) {
      files.push_back(word.substr(9));
    } else if (starts_with(word, "-c")) {
      files.push_back(word.substr(2));
    }
  }
  return files;
}

/// Every "--key value" and configuration key as raw text, last one winning: enough to look up `model.type`.
std::map<std::string, std::string> scan_previews(const std::vector<std::string>& arguments, const ConfigEntries& config) {
  std::map<std::string, std::string> previews;
  for (const io::ConfigEntry& entry : config) {
    if (entry.values.size() == 1) previews[entry.key] = entry.values[0];
  }
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (!starts_with(arguments[i], "--")) continue;
    const std::string word = arguments[i].substr(2);
    const size_t equals = word.find('=');
    if (equals != std::string::npos) {
      previews[word.substr(0, equals)] = word.substr(equals + 1);
    } else if (i + 1 < arguments.size()) {
      previews[word] = arguments[i + 1];
    }
  }
  return previews;
}

void apply_config(const ConfigEntries& entries, Options& options) {
  for (const io::ConfigEntry& entry : entries) {
    Option* option = options.find(entry.key);
    if (entry.key == "config") {
      fail_usage("{}:{}: a configuration file names no further ones; give several -c FILE, or `-c FILE` after another", entry.file,
                 entry.line);
    }
    if (!option) {
      std::vector<std::string> keys;
      for (const auto& known : options.all()) keys.push_back(known->key());
      const std::string guess = nearest(entry.key, keys);
      fail_usage("{}:{}: unknown key '{}'{}", entry.file, entry.line, entry.key,
                 guess.empty() ? "" : fmt::format("; did you mean '{}'?", guess));
    }
    if (entry.is_list && !option->is_list()) {
      fail_usage("{}:{}: {}: expected one value, found a list", entry.file, entry.line, entry.key);
    }
    const std::string wrong = option->set(entry.values);
    if (!wrong.empty()) fail_usage("{}:{}: {}: {}", entry.file, entry.line, entry.key, wrong);
  }
}

struct ParsedFlags {
  std::map<std::string, std::vector<std::string>> values;
  bool help = false, version = false;
  std::map<std::string, bool> actions;
};

[[noreturn]] void fail_unknown(const std::string& word, const Options& options) {
  if (!starts_with(word, "-") || word == "-") {
    fail_usage("unexpected argument '{}': input and output are given by flags or through standard input and output", word);
  }
  std::vector<std::string> flags{"--help", "--version"};
  for (const auto& option : options.all()) flags.push_back("--" + option->flag_name());
  const std::string guess = nearest(word.substr(0, word.find('=')), flags);
  fail_usage("unknown option '{}'{}", word, guess.empty() ? "; see --help" : fmt::format("; did you mean '{}'?", guess));
}

/// `--key=` gives an empty value; CLI11 would take the next word for it.
std::vector<std::string> with_empty_values(const std::vector<std::string>& arguments, const Options& options) {
  std::vector<std::string> words;
  for (const std::string& word : arguments) {
    const bool ends_empty = starts_with(word, "--") && word.find('=') == word.size() - 1;
    const Option* option = ends_empty ? options.find_flag(word.substr(2, word.size() - 3)) : nullptr;
    if (option && !option->is_flag()) {
      words.insert(words.end(), {word.substr(0, word.size() - 1), ""});
    } else {
      words.push_back(word);
    }
  }
  return words;
}

ParsedFlags parse_flags(std::vector<std::string> arguments, const Options& options, const Tool& tool) {
  arguments = with_empty_values(arguments, options);
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  ParsedFlags parsed;
  app.add_flag("-h,--help", parsed.help);
  app.add_flag("--version", parsed.version);
  for (const Action& action : tool.actions) app.add_flag("--" + action.name, parsed.actions[action.name]);
  for (const auto& option : options.all()) {
    const std::string& key = option->flag_name();
    if (option->is_flag()) {
      app.add_flag(fmt::format("--{0}{{true}},--no-{0}{{false}}", key), parsed.values[key]);
    } else {
      const std::string names = (key == "config" ? "-c,--" : "--") + key;
      app.add_option(names, parsed.values[key])->allow_extra_args(false);
    }
  }
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them last first
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError& error) {
    fail_usage("{}", error.what());
  }
  if (parsed.help || parsed.version) return parsed;
  const std::vector<std::string> extras = app.remaining();
  if (!extras.empty()) fail_unknown(extras.front(), options);
  return parsed;
}

void apply_flags(const ParsedFlags& parsed, Options& options) {
  for (const auto& option : options.all()) {
    std::vector<std::string> values = parsed.values.at(option->flag_name());
    if (values.empty()) continue;
    if (!option->is_list()) values = {values.back()};  // the last one wins, so that wrappers can append theirs
    const std::string wrong = option->set(values);
    if (!wrong.empty()) fail_usage("--{}: {}", option->flag_name(), wrong);
  }
}

void check_required(const Options& options) {
  std::vector<std::string> missing;
  for (const auto& option : options.all()) {
    const std::vector<std::string> values = option->values();
    const bool empty = values.empty() || (values.size() == 1 && values[0].empty());
    if (option->is_required() && (!option->is_given() || empty)) missing.push_back("--" + option->flag_name());
  }
  if (!missing.empty()) fail_usage("missing {}; see --help", join(missing, ", "));
}

std::string resolved_yaml(const Options& options) {
  std::vector<io::ConfigEntry> entries;
  for (const auto& option : options.all()) {
    if (option->is_transient()) continue;
    io::ConfigEntry entry;
    entry.key = option->key();
    entry.values = option->values();
    entry.is_list = option->is_list();
    entries.push_back(entry);
  }
  return io::emit_yaml(entries);
}

void set_up_logging(const CommonOptions& common) {
  log::Level level = log::Level::kInfo;
  log::parse_level(common.log_level, level);
  if (common.quiet) level = std::max(level, log::Level::kWarning);
  log::set_level(level);
  const char* no_color = std::getenv("NO_COLOR");
  const bool plain = no_color && *no_color;
  log::set_color(common.color == "always" || (common.color == "auto" && !plain && isatty(STDERR_FILENO)));
}

std::optional<std::string> environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value ? std::make_optional<std::string>(value) : std::nullopt;
}

/// Without --threads: what OMP_NUM_THREADS says, unless it is more than this process's share of the cores.
int default_threads(const Launch& launch) {
  const int share = shared_threads(launch.local_ranks), wished = wished_threads(environment);
  return wished > 0 ? std::min(wished, share) : share;
}

Invocation make_invocation(int argc, char** argv, CommonOptions& common, const Options& options, const Launch& launch) {
  Invocation call;
  call.seed = static_cast<uint64_t>(common.seed);
  call.launch = launch;
  set_threads(common.threads == 0 ? default_threads(launch) : static_cast<int>(common.threads));
  call.threads = threads();
  common.threads = call.threads;  // what is recorded repeats the run on a machine with more cores too
  call.quiet = common.quiet;
  call.progress = isatty(STDERR_FILENO) && !common.quiet;
  call.prints_to_terminal = isatty(STDOUT_FILENO);
  std::vector<std::string> words;
  for (int i = 0; i < argc; ++i) words.push_back(quote_shell(argv[i]));
  call.command_line = join(words, " ");
  call.config_yaml = resolved_yaml(options);
  call.started = local_time();
  call.host = host_name();
  return call;
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

void flush_stdout() {
  if (std::fflush(stdout) != 0 || std::ferror(stdout)) fail_errno("cannot write to standard output");
}

/// A daemon may start us without them; the next file to be opened would then take a number that messages or data are written to.
/// Reading from a standard input and writing to a standard output that were closed still fail, and that is reported.
void open_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    const int opened = open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_WRONLY);
    if (opened > STDERR_FILENO) close(opened);
  }
}

void run_tool(int argc, char** argv, const Tool& tool) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool wants_text = std::any_of(arguments.begin(), arguments.end(), [](const std::string& word) {
    return word == "-h" || word == "--help" || word == "--version";
  });
  ConfigEntries config;
  if (!wants_text) {
    for (const std::string& file : scan_config_files(arguments)) {
      const ConfigEntries entries = io::read_yaml(file);
      config.insert(config.end(), entries.begin(), entries.end());
    }
  }
  Options options;
  options.set_previews(scan_previews(arguments, config));
  CommonOptions common;
  tool.declare(options);
  common.declare(options);
  const ParsedFlags parsed = parse_flags(arguments, options, tool);
  if (parsed.help || parsed.version) {
    print(parsed.help ? help_text(tool, options) : version_text(tool));
    return flush_stdout();
  }
  for (const Action& action : tool.actions) {
    if (parsed.actions.at(action.name)) {
      print(action.text());
      return flush_stdout();
    }
  }
  apply_config(config, options);
  apply_flags(parsed, options);
  set_up_logging(common);
  if (common.dump_config) {
    print(resolved_yaml(options));
    return flush_stdout();
  }
  check_required(options);
  Launch launch;
  if (tool.runs_in_ranks) launch = find_launch(environment);
  if (tool.resolve) tool.resolve(launch);
  tool.run(make_invocation(argc, argv, common, options, launch));
  flush_stdout();
}

int run_and_report(int argc, char** argv, const Tool& tool) {
  const auto report = [&tool](const std::string& message, int code) {
    log::status_line("");
    log::error("{}: {}", tool.name, message);
    return code;
  };
  const auto out_of_memory = [&report] { return report("out of memory; smaller batches, a smaller model or less text at once need less", kExitFailure); };
  try {
    run_tool(argc, argv, tool);
    return kExitDone;
  } catch (const Error& error) {
    return report(error.what(), error.exit_code());
  } catch (const std::bad_alloc&) {
    return out_of_memory();
  } catch (const std::exception& error) {
    // LibTorch's messages go on with a stack trace, which tells a user nothing.
    const std::string text = error.what();
    if (text.find("alloc_cpu.cpp") != std::string::npos || text.find("not enough memory") != std::string::npos) return out_of_memory();
    return report(text.substr(0, std::min(text.find("\nException raised from"), text.find("\nframe #"))), kExitFailure);
  } catch (...) {
    return report("an exception of unknown type", kExitFailure);
  }
}

}  // namespace

int tool_main(int argc, char** argv, const Tool& tool) {
  open_standard_descriptors();
  const int code = run_and_report(argc, argv, tool);
  if (exits_without_clean_up()) std::_Exit(code);
  return code;
}

}  // namespace seqmill::cli
