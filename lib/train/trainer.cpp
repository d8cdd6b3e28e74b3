#include "train/trainer.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/strings.h"
#include "base/team.h"
#include "base/threads.h"
#include "base/time_spent.h"
#include "io/line_reader.h"
#include "io/output.h"
#include "kernel/float_kernels.h"
#include "tensor/average.h"
#include "tensor/runtime.h"
#include "train/gradient_sum.h"

namespace seqmill::train {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Sums over the updates since the last line of the log.
struct Window {
  double loss = 0, nll = 0, norm = 0, seconds = 0;
  int64_t tokens = 0, source_tokens = 0, updates = 0;
  std::vector<double> measures;
  TimeSpent spent{};
};

void add_to(std::vector<double>& sums, const std::vector<double>& values) {
  sums.resize(std::max(sums.size(), values.size()));
  for (size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
}

class Trainer {
 public:
  Trainer(Task& task, io::RunDir& run, const TrainerOptions& options, uint64_t seed, bool progress_line, Ranks& ranks)
      : task_(task), run_(run), options_(with_accumulation(options, ranks)), seed_(seed), progress_line_(progress_line), ranks_(ranks),
        parameters_(flattened(task.parameters())), workers_(workers_of(task)), team_(static_cast<int64_t>(workers_.size()), tensor::limit_thread_to_itself),
        optimizer_(parameters_, options.optimizer), measures_(task.measures()), unit_(task.unit()), gradient_sum_(workers_, ranks), time_limit_(parse_duration(options.max_time)) {
    progress_.best_by = options.stop_on;
    progress_.averages = options.ema > 0;
    if (options.ema > 0) average_ = parameters_.flat_values().clone();
  }

  void run(const std::function<void()>& begins) {
    catch_stop_signals();
    const bool resumes = ranks_.from_first(ranks_.first() && will_resume(run_, options_.resume) ? 1 : 0) > 0;
    if (resumes && ranks_.first()) restore();
    share_state(resumes);
    if (ranks_.first()) {
      begins();
      tidy();
      drop_later_events();
    }
    started_ = now() - progress_.seconds;
    warn_of_long_warmup();
    agree();
    std::string reason;
    while (reason = limit_reached(), reason.empty()) {
      const int64_t epoch = task_.epoch();
      update();
      const bool epoch_ends = task_.epoch() != epoch;
      log_if_due();
      // While updates are being skipped the last checkpoint is better than what we have now.
      validation_owed_ = validation_owed_ || validation_due(epoch_ends);
      save_owed_ = save_owed_ || (options_.save_every > 0 && progress_.update % options_.save_every == 0);
      if (skipped_in_a_row_ > 0) {
        stop_if_asked();
        continue;
      }
      if (validation_owed_) {
        validate();
      } else if (save_owed_) {
        save();
      }
      stop_if_asked();
    }
    log_window();
    if (skipped_in_a_row_ > 0) {
      ranks_.end_together();
      throw Error(fmt::format("training ends ({}), but its last {} updates had a loss or gradient that is not finite; {}", reason,
                              skipped_in_a_row_, advice()),
                  kExitDiverged);
    }
    if (progress_.validated != progress_.update) validate();
    log::info("training ends: {}; {} updates, {} skipped, {} of training", reason, progress_.update, progress_.skipped,
              format_duration(progress_.seconds));
    if (options_.average > 0) write_average();
  }

 private:
  static TrainerOptions with_accumulation(TrainerOptions options, const Ranks& ranks) {
    if (options.accumulate == 0) options.accumulate = ranks.count();
    return options;
  }

  /// The parameters of the workers: of a model each. No more of them than a batch has parts: who accumulates batches wants to save memory.
  static std::vector<nn::Parameters*> workers_of(Task& task) {
    std::vector<nn::Parameters*> workers = task.workers(team_size(task.parts(), threads()));
    log::debug("{} parts a batch, {} workers, {} threads", task.parts(), workers.size(), threads());
    return workers;
  }

  static nn::Parameters& flattened(nn::Parameters& parameters) {
    parameters.flatten();
    return parameters;
  }

  /// Where a schedule ends that does. By epochs, of which each may have some batches more or fewer than the present one, it is an estimate, the same for every rank and session.
  int64_t planned_updates() const {
    if (options_.max_updates > 0 || options_.max_epochs == 0) return options_.max_updates;
    return std::max<int64_t>(1, options_.max_epochs * task_.epoch_batches() / options_.accumulate);
  }

  void warn_of_long_warmup() const {
    const Schedule& schedule = options_.schedule;
    const bool ends = schedule.kind == "cosine" || schedule.kind == "linear";
    if (ends && options_.max_updates == 0 && schedule.warmup >= planned_updates()) {
      log::warn("--warmup {} is more than the {} updates of --max-epochs {}: the learning rate never gets to {}", schedule.warmup, planned_updates(), options_.max_epochs, schedule.rate);
    }
  }

  std::string limit_reached() const {
    if (options_.max_updates > 0 && progress_.update >= options_.max_updates) return "--max-updates is reached";
    if (options_.max_epochs > 0 && task_.epoch() >= options_.max_epochs) return "--max-epochs is reached";
    if (time_limit_ > 0 && progress_.seconds >= time_limit_) return "--max-time is reached";
    if (options_.early_stopping > 0 && progress_.validations_without_gain >= options_.early_stopping) {
      return fmt::format("{} validations without gain", progress_.validations_without_gain);
    }
    return "";
  }

  void update() {
    const double begin = now();
    take_time_spent();  // that of validations
    clear_gradients();
    const int64_t number = progress_.update + 1;
    PartLoss sum;
    for (const PartLoss& part : work_on(take_parts(number))) sum.add(part);
    gradient_sum_.finish();
    add_up_ranks(sum);
    const double scale = 1.0 / static_cast<double>(std::max<int64_t>(1, sum.tokens));
    const double norm = std::isfinite(sum.loss) ? euclidean_norm(parameters_.flat_gradients()) * scale : sum.loss;
    progress_.update = number;
    progress_.target_tokens += sum.tokens;
    if (std::isfinite(norm)) {
      const double clipped = options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1.0;
      optimizer_.step(scale * clipped, options_.schedule.at(number, planned_updates()));
      skipped_in_a_row_ = 0;
      if (average_.defined()) update_average();
      window_.loss += sum.loss;
      window_.nll += sum.nll;
      window_.norm += norm;
      window_.tokens += sum.tokens;
      window_.source_tokens += sum.source_tokens;
      add_to(window_.measures, sum.measures);
      ++window_.updates;
    } else {
      skip(sum.loss, norm);
    }
    window_.seconds += now() - begin;
    add_up(take_time_spent());
    progress_.optimizer_steps = optimizer_.steps();
    show_progress();
  }

  /// A part of a batch and its own stream of dropout, whichever rank and worker takes it: the training is the same on any number of them.
  struct PartWithDropout {
    Part part;
    tensor::DropoutStream dropout;
  };

  struct PartLoss {
    double loss = 0, nll = 0;
    int64_t tokens = 0, source_tokens = 0;
    std::vector<double> measures = {};

    void add(const PartLoss& other) {
      loss += other.loss;
      nll += other.nll;
      tokens += other.tokens;
      source_tokens += other.source_tokens;
      add_to(measures, other.measures);
    }
  };

  /// What this rank has to do for update `number`.
  std::vector<PartWithDropout> take_parts(int64_t number) {
    std::vector<PartWithDropout> parts;
    for (int64_t k = ranks_.rank(); k < options_.accumulate; k += ranks_.count()) {
      task_.skip(ranks_.rank());
      uint64_t place = 0;
      for (Part& part : task_.next()) {
        parts.push_back({std::move(part), {seed_, static_cast<uint64_t>(number), static_cast<uint64_t>(k), place++}});
      }
      task_.skip(ranks_.count() - 1 - ranks_.rank());
    }
    return parts;
  }

  /// Adds up the gradients of the parts in those of the workers. Who does which part is fixed, so that sums come out the same each time.
  std::vector<PartLoss> work_on(std::vector<PartWithDropout> parts) {
    std::vector<PartLoss> finished(parts.size());
    std::vector<TimeSpent> spent(workers_.size());
    add_up(take_time_spent());
    std::atomic<bool> failed{false};
    team_.run([&](int64_t worker) {
      const auto count = static_cast<size_t>(team_.size());
      try {
        for (auto i = static_cast<size_t>(worker); i < parts.size() && !failed; i += count) {
          const StepLoss loss = parts[i].part(worker, parts[i].dropout);
          finished[i] = {loss.sum.item<double>(), loss.nll_sum, loss.tokens, loss.source_tokens, loss.measures};
          if (i + count >= parts.size()) gradient_sum_.expect(worker);
          if (std::isfinite(finished[i].loss)) loss.sum.backward();
        }
      } catch (...) {
        failed = true;
        throw;
      }
      spent[static_cast<size_t>(worker)] = take_time_spent();
    });
    // The workers' accounts run at the same time: their mean is what the process spent. Waiting for the last one is in "other".
    for (const TimeSpent& account : spent) add_up(account, 1 / static_cast<double>(spent.size()));
    return finished;
  }

  void add_up(const TimeSpent& spent, double share = 1) {
    for (size_t kind = 0; kind < spent.size(); ++kind) window_.spent[kind] += share * spent[kind];
  }

  void clear_gradients() {
    const Timed timed(Work::kOptimizer);
    parameters_.flat_gradients().zero_();
  }

  /// Sums over the ranks, and agrees on what every rank has to see alike: the time, and whether to stop.
  void add_up_ranks(PartLoss& sum) {
    std::vector<double> mine{sum.loss, sum.nll, static_cast<double>(sum.tokens), static_cast<double>(sum.source_tokens)};
    const size_t fixed = mine.size();
    sum.measures.resize(measures_.size());  // of a rank that had no part
    mine.insert(mine.end(), sum.measures.begin(), sum.measures.end());
    const auto all = exchange(std::move(mine));
    sum = PartLoss();
    for (const std::vector<double>& rank : all) {
      sum.add({rank[0], rank[1], static_cast<int64_t>(rank[2]), static_cast<int64_t>(rank[3]), std::vector<double>(rank.begin() + static_cast<std::ptrdiff_t>(fixed), rank.end())});
    }
  }

  void agree() { exchange({}); }

  std::vector<std::vector<double>> exchange(std::vector<double> values) {
    const Timed timed(Work::kRanks);
    values.push_back(now() - started_);
    values.push_back(stop_signal());
    std::vector<std::vector<double>> all = ranks_.gather(values);
    for (std::vector<double>& rank : all) {
      stop_signal_ = std::max(stop_signal_, static_cast<int>(rank.back()));
      rank.pop_back();
      progress_.seconds = std::max(progress_.seconds, rank.back());
      rank.pop_back();
    }
    return all;
  }

  void skip(double loss, double norm) {
    ++progress_.skipped;
    ++skipped_in_a_row_;
    log::warn("update {} skipped: loss {}, gradient norm {}", progress_.update, loss, norm);
    if (skipped_in_a_row_ > options_.max_skipped) {
      ranks_.end_together();
      throw Error(fmt::format("{} updates in a row had a loss or gradient that is not finite; {}", skipped_in_a_row_, advice()),
                  kExitDiverged);
    }
  }

  void update_average() {
    const Timed timed(Work::kOptimizer);
    const at::Tensor values = parameters_.flat_values();
    // Early on the average follows quickly, so that the random start is forgotten.
    const double steps = static_cast<double>(optimizer_.steps());
    const double decay = std::min(options_.ema, (1 + steps) / (10 + steps));
    if (!tensor::is_fast(values)) {
      average_.mul_(decay).add_(values, 1 - decay);
      return;
    }
    float* average = average_.data_ptr<float>();
    const float* value = values.data_ptr<float>();
    parallel_for(values.numel(), 1 << 16, [&](int64_t begin, int64_t end) {
      kernel::float_kernels().moving_average(average + begin, value + begin, end - begin, static_cast<float>(decay));
    });
  }

  /// Calls `work` while the parameters hold what inference uses.
  template <typename Function>
  auto with_inference_weights(Function work) {
    if (!average_.defined()) return work();
    at::NoGradGuard no_grad;
    const at::Tensor values = parameters_.flat_values();
    struct Swap {
      at::Tensor values, kept;
      ~Swap() { values.copy_(kept); }
    } swap{values, values.clone()};
    values.copy_(average_);
    return work();
  }

  bool validation_due(bool epoch_ends) const {
    return options_.validate_every > 0 ? progress_.update % options_.validate_every == 0 : epoch_ends;
  }

  void validate() {
    const double begin = now();
    const Scores scores = with_inference_weights([this] { return task_.validate(ranks_); });
    io::Json event = new_event("valid");
    std::string text;
    double score = 0;
    bool finite = true, known = false;
    for (const auto& [name, value] : scores) {
      event.set(name, value);
      text += fmt::format("{}{} {:.4g}", text.empty() ? "" : ", ", name, value);
      if (name != options_.stop_on) continue;
      score = name == "loss" ? -value : value;
      known = true;
      finite = std::isfinite(value);
    }
    if (!known) fail("--stop-on {}: a validation gives no such score", options_.stop_on);
    event.set("seconds", now() - begin);
    write_event(event);
    const bool gain = finite && (progress_.best.empty() || score > progress_.best.front().score);
    progress_.validations_without_gain = gain ? 0 : progress_.validations_without_gain + 1;
    log::info("update {} valid: {}{}", progress_.update, text, gain ? " (best)" : "");
    if (finite) progress_.best.push_back({io::checkpoint_name(progress_.update), score});
    std::stable_sort(progress_.best.begin(), progress_.best.end(),
                     [](const Progress::Best& a, const Progress::Best& b) { return a.score > b.score; });
    if (static_cast<int64_t>(progress_.best.size()) > std::max<int64_t>(1, options_.keep_best)) {
      progress_.best.resize(static_cast<size_t>(std::max<int64_t>(1, options_.keep_best)));
    }
    progress_.validated = progress_.update;
    validation_owed_ = false;
    save();
  }

  /// A step may carry the weights out of range although its gradient was finite.
  void check_weights() {
    const std::vector<std::vector<double>> sizes = ranks_.gather({euclidean_norm(parameters_.flat_values())});
    // Nor are weights any good whose squares are beyond float32.
    const bool finite = std::all_of(sizes.begin(), sizes.end(), [](const std::vector<double>& size) {
      return std::isfinite(static_cast<float>(size[0] * size[0]));
    });
    const bool alike = std::all_of(sizes.begin(), sizes.end(), [&](const std::vector<double>& size) { return size == sizes[0]; });
    if (finite && !alike) {
      // Every rank takes the same steps, but processors that round differently drift apart all the same.
      log::warn("update {}: the ranks' weights differ, perhaps by their processors; all go on with those of rank 0", progress_.update);
      share_tensors();
    }
    if (finite) return;
    ranks_.end_together();
    throw Error(fmt::format("the weights are no longer finite after update {}; {}", progress_.update, advice()), kExitDiverged);
  }

  /// Rank 0 has read the checkpoint, or begun: the others take from it what they have, whatever they would see on their disks.
  void share_state(bool resumes) {
    share_tensors();
    if (!resumes) return;
    if (!ranks_.first()) progress_ = Progress::from_json(io::parse_json(ranks_.gather_text("")[0], "rank 0"), "rank 0");
    if (ranks_.first()) ranks_.gather_text(progress_.to_json().dump());
    optimizer_.set_steps(progress_.optimizer_steps);
    saved_update_ = progress_.update;
    if (!ranks_.first()) task_.set_cursor(progress_.cursor);
  }

  void share_tensors() {
    for (const at::Tensor& tensor : optimizer_.flat_state()) ranks_.broadcast(tensor);
    ranks_.broadcast(parameters_.flat_values());
    for (const nn::Parameter& parameter : parameters_.fixed()) ranks_.broadcast(parameter.value.detach());
    if (average_.defined()) ranks_.broadcast(average_);
  }

  std::string advice() const {
    const std::string last = run_.linked("last");
    return fmt::format("{}. A lower --learning-rate, a longer --warmup or a smaller --clip may help",
                       last.empty() ? "there is no checkpoint yet" : "the last good checkpoint is " + last);
  }

  void save() {
    check_weights();
    progress_.cursor = task_.cursor();
    progress_.seconds = now() - started_;
    if (ranks_.first()) write_checkpoint();
    saved_update_ = progress_.update;
    save_owed_ = false;
    agree();
  }

  void write_checkpoint() {
    run_.save_checkpoint(progress_.update, [this](const std::string& directory) {
      const std::vector<tensor::NamedTensor> weights = parameters_.named();
      std::vector<tensor::NamedTensor> rest = optimizer_.state();
      if (average_.defined()) {
        for (const auto& [name, value] : parameters_.named_trained()) rest.emplace_back(name + ".raw", value);
      }
      with_inference_weights([&] { tensor::save_tensors(directory + "/model.safetensors", weights, {{"format", "pt"}}); });
      tensor::save_tensors(directory + "/optim.safetensors", rest);
      io::write_file(directory + "/state.json", progress_.to_json().dump_pretty() + "\n");
    });
    tidy();
  }

  /// What follows a checkpoint, and a start from one, in case the session before was killed in between.
  void tidy() {
    if (!progress_.best.empty()) run_.link("best", progress_.best.front().checkpoint);
    remove_old();
  }

  void remove_old() {
    const std::vector<std::string> all = run_.checkpoints();
    const auto keep_from = static_cast<int64_t>(all.size()) - options_.keep_last;
    // The one that is linked stays until another takes its place: after a change of --stop-on nothing is known to be best yet.
    const std::string linked = run_.linked("best");
    for (int64_t i = 0; i < keep_from; ++i) {
      const std::string& name = all[static_cast<size_t>(i)];
      const bool is_best = name == linked || std::any_of(progress_.best.begin(), progress_.best.end(),
                                       [&](const Progress::Best& entry) { return entry.checkpoint == name; });
      if (!is_best) run_.remove_checkpoint(name);
    }
  }

  void restore() {
    const std::string name = run_.linked("last");
    const std::string directory = run_.checkpoint_path(name);
    progress_ = Progress::from_json(io::read_json(directory + "/state.json"), directory + "/state.json");
    if (progress_.averages != average_.defined()) {
      fail_usage("--ema {}: this run was begun {} a moving average of the weights, and goes on so", options_.ema,
                 progress_.averages ? "with" : "without");
    }
    const std::vector<tensor::NamedTensor> weights = parameters_.named();
    std::vector<tensor::NamedTensor> rest = optimizer_.state();
    tensor::load_into(directory + "/model.safetensors", weights);
    if (average_.defined()) {
      at::NoGradGuard no_grad;
      average_.copy_(parameters_.flat_values());
      for (const auto& [parameter, value] : parameters_.named_trained()) rest.emplace_back(parameter + ".raw", value);
    }
    tensor::load_into(directory + "/optim.safetensors", rest);
    optimizer_.set_steps(progress_.optimizer_steps);
    try {
      task_.set_cursor(progress_.cursor);
    } catch (const Error& error) {
      throw Error(fmt::format("{}/state.json: {}", directory, error.what()), error.exit_code());
    }
    saved_update_ = progress_.update;
    forget_lost_bests();
    log::info("resumed from {} (update {}, {} of training)", directory, progress_.update, format_duration(progress_.seconds));
  }

  /// Scores of another kind cannot be compared, and checkpoints that somebody removed cannot be used.
  void forget_lost_bests() {
    if (progress_.best_by != options_.stop_on) {
      log::warn("--stop-on was {} and is {}: what is best is found anew", progress_.best_by, options_.stop_on);
      progress_.best_by = options_.stop_on;
      progress_.best.clear();
      progress_.validations_without_gain = 0;
      progress_.validated = -1;
    }
    const std::vector<std::string> all = run_.checkpoints();
    const auto lost = [&](const Progress::Best& entry) { return std::find(all.begin(), all.end(), entry.checkpoint) == all.end(); };
    progress_.best.erase(std::remove_if(progress_.best.begin(), progress_.best.end(), lost), progress_.best.end());
  }

  /// The last validation that a checkpoint knows of: one that was under way when the session was killed will happen again.
  int64_t last_validated() const { return progress_.validated < 0 ? progress_.update : progress_.validated; }

  /// What a killed session logged past its last checkpoint will happen again, and so will the mean of the last checkpoints.
  void drop_later_events() {
    const std::string path = run_.file("metrics.jsonl");
    if (!std::filesystem::exists(path)) return;
    std::string kept;
    for (const std::string& line : split(io::read_file(path), '\n')) {
      try {
        const io::Json event = io::parse_json(line, path);
        const std::string& split = event.at("split").as_string();
        const int64_t known = split == "valid" ? last_validated() : progress_.update;
        if (event.at("step").as_int() <= known && split != "average") kept += line + "\n";
      } catch (const Error& error) {
        // A line half written when the run was killed, or the nothing after the last line.
        log::debug("{}", error.what());
      }
    }
    io::write_file(path, kept);
  }

  void stop_if_asked() {
    const int signal = ranks_.count() == 1 ? stop_signal() : stop_signal_;
    if (signal == 0) return;
    if (saved_update_ != progress_.update && skipped_in_a_row_ == 0) save();
    ranks_.end_together();
    const std::string last = run_.linked("last");
    throw Error(fmt::format("stopped by signal {} after update {}; the same command goes on from {}", signal, progress_.update,
                            last.empty() ? "the start" : last),
                kExitSignalBase + signal);
  }

  io::Json new_event(const char* split) const {
    io::Json event = io::Json::object();
    event.set("step", progress_.update);
    event.set("wall", progress_.seconds);
    event.set("epoch", static_cast<double>(task_.epoch()) + task_.epoch_progress());
    event.set("split", split);
    return event;
  }

  void write_event(const io::Json& event) const {
    if (ranks_.first()) io::append_file(run_.file("metrics.jsonl"), event.dump() + "\n");
  }

  void log_if_due() {
    if (progress_.update % options_.log_every == 0) log_window();
  }

  void log_window() {
    if (window_.updates == 0) return;
    const auto tokens = static_cast<double>(window_.tokens);
    const double loss = window_.loss / tokens, nll = window_.nll / tokens, rate = tokens / window_.seconds;
    const double learning_rate = options_.schedule.at(progress_.update, planned_updates());
    const double norm = window_.norm / static_cast<double>(window_.updates);
    io::Json event = new_event("train");
    const bool of_tokens = unit_ == "tokens";
    std::string text;
    event.set("loss", loss);
    if (of_tokens) {
      event.set("nll", nll);
      event.set("ppl", std::exp(nll));
      text = fmt::format(", ppl {:.2f}", std::exp(nll));
    }
    for (size_t i = 0; i < measures_.size(); ++i) {
      event.set(measures_[i], window_.measures[i] / tokens);
      text += fmt::format(", {} {:.3g}", measures_[i], window_.measures[i] / tokens);
    }
    event.set("learning-rate", learning_rate);
    event.set("gradient-norm", norm);
    event.set(of_tokens ? "target-tokens-per-second" : unit_ + "-per-second", rate);
    event.set(of_tokens ? "source-tokens-per-second" : "tokens-per-second", static_cast<double>(window_.source_tokens) / window_.seconds);
    event.set("skipped", progress_.skipped);
    event.set("seconds-by-work", seconds_by_work());
    write_event(event);
    log::info("update {} epoch {:.2f}: loss {:.4f}{}, lr {:.3g}, gradient norm {:.2f}, {:.{}f} {}/s{}", progress_.update,
              static_cast<double>(task_.epoch()) + task_.epoch_progress(), loss, text, learning_rate, norm, rate, of_tokens ? 0 : 1, unit_, time_left());
    window_ = Window();
  }

  /// Of the updates since the last line of the log. "other" are LibTorch's own operators, the bookkeeping of gradients and waiting for workers.
  io::Json seconds_by_work() const {
    io::Json json = io::Json::object();
    double other = window_.seconds;
    for (size_t kind = 0; kind < window_.spent.size(); ++kind) {
      json.set(name_of(static_cast<Work>(kind)), window_.spent[kind]);
      other -= window_.spent[kind];
    }
    json.set("other", other);
    return json;
  }

  std::string time_left() const {
    double share = 0;  // of the limit that will be reached first
    if (options_.max_updates > 0) {
      share = static_cast<double>(progress_.update) / static_cast<double>(options_.max_updates);
    }
    if (options_.max_epochs > 0) {
      share = std::max(share, (static_cast<double>(task_.epoch()) + task_.epoch_progress()) /
                                  static_cast<double>(options_.max_epochs));
    }
    if (time_limit_ > 0) share = std::max(share, progress_.seconds / time_limit_);
    if (share <= 0 || share > 1) return "";
    return fmt::format(", {} left", format_duration(progress_.seconds * (1 - share) / share));
  }

  void show_progress() {
    if (!progress_line_ || now() - shown_ < 0.5) return;
    shown_ = now();
    const double rate = window_.seconds > 0 ? static_cast<double>(window_.tokens) / window_.seconds : 0;
    log::status_line(fmt::format("update {} epoch {:.2f}, {:.{}f} {}/s{}", progress_.update, static_cast<double>(task_.epoch()) + task_.epoch_progress(), rate,
                                 unit_ == "tokens" ? 0 : 1, unit_, time_left()));
  }

  void write_average() {
    const int64_t count = std::min<int64_t>(options_.average, static_cast<int64_t>(run_.checkpoints().size()));
    if (ranks_.first()) {
      write_model_directory(run_, tensor::average_weights(io::newest_checkpoints(run_.path(), count)));
      tensor::load_into(run_.file("average/model.safetensors"), parameters_.named());
    }
    ranks_.broadcast(parameters_.flat_values());
    std::string text;
    io::Json event = new_event("average");
    for (const auto& [name, value] : task_.validate(ranks_)) {
      event.set(name, value);
      text += fmt::format(", {} {:.4g}", name, value);
    }
    write_event(event);
    log::info("mean of {} checkpoints in {}{}", count, run_.file("average"), text);
  }

  static void write_model_directory(const io::RunDir& run, const std::vector<tensor::NamedTensor>& weights);

  Task& task_;
  io::RunDir& run_;
  TrainerOptions options_;
  uint64_t seed_;
  bool progress_line_;
  Ranks& ranks_;
  nn::Parameters& parameters_;
  std::vector<nn::Parameters*> workers_;  ///< parameters_ and those of copies of the model
  Team team_;
  Optimizer optimizer_;
  std::vector<std::string> measures_;
  std::string unit_;
  GradientSum gradient_sum_;
  double time_limit_;
  at::Tensor average_;  ///< moving average of the flat values, when asked for
  Progress progress_;
  Window window_;
  int64_t saved_update_ = -1;
  int64_t skipped_in_a_row_ = 0;
  bool validation_owed_ = false, save_owed_ = false;  ///< due, perhaps since updates began to be skipped
  double started_ = 0, shown_ = 0;
  int stop_signal_ = 0;  ///< the one that the ranks have agreed on
};

void Trainer::write_model_directory(const io::RunDir& run, const std::vector<tensor::NamedTensor>& weights) {
  const std::string directory = run.file("average");
  std::filesystem::create_directories(directory);
  // The weights come last: a directory that has them is whole.
  std::filesystem::remove(directory + "/model.safetensors");
  io::copy_companions(run.path(), directory);
  tensor::save_tensors(directory + "/.model.safetensors.tmp", weights, {{"format", "pt"}});
  std::filesystem::rename(directory + "/.model.safetensors.tmp", directory + "/model.safetensors");
}

}  // namespace

bool will_resume(const io::RunDir& run, const std::string& resume) {
  const bool has_checkpoint = !run.linked("last").empty();
  if (resume == "must" && !has_checkpoint) fail("--resume must: {} holds no checkpoint", run.path());
  if (resume == "never" && has_checkpoint) {
    fail("--resume never: {} already holds checkpoints; give another --run or remove it", run.path());
  }
  return has_checkpoint;
}

void train(Task& task, io::RunDir& run, const TrainerOptions& options, uint64_t seed, bool progress_line, Ranks& ranks,
           const std::function<void()>& begins) {
  Trainer(task, run, options, seed, progress_line, ranks).run(begins);
}

}  // namespace seqmill::train
