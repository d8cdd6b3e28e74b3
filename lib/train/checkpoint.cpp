#include "train/checkpoint.h"

#include "base/error.h"

namespace seqmill::train {

io::Json Progress::to_json() const {
  io::Json json = io::Json::object();
  json.set("format", kCheckpointFormat);
  json.set("update", update);
  json.set("optimizer-steps", optimizer_steps);
  json.set("skipped", skipped);
  json.set("seconds", seconds);
  json.set("target-tokens", target_tokens);
  json.set("validated", validated);
  json.set("validations-without-gain", validations_without_gain);
  io::Json list = io::Json::array();
  for (const Best& entry : best) {
    io::Json item = io::Json::object();
    item.set("checkpoint", entry.checkpoint);
    item.set("score", entry.score);
    list.push_back(item);
  }
  json.set("best-by", best_by);
  json.set("best", list);
  json.set("averages", averages);
  json.set("cursor", cursor);
  return json;
}

Progress Progress::from_json(const io::Json& json, const std::string& where) {
  try {
    const int64_t format = json.at("format").as_int();
    if (format != kCheckpointFormat) {
      fail("format version {} where this program reads {}", format, kCheckpointFormat);
    }
    Progress progress;
    progress.update = json.at("update").as_int();
    progress.optimizer_steps = json.at("optimizer-steps").as_int();
    progress.skipped = json.at("skipped").as_int();
    progress.seconds = json.at("seconds").as_double();
    progress.target_tokens = json.at("target-tokens").as_int();
    progress.validated = json.at("validated").as_int();
    progress.validations_without_gain = json.at("validations-without-gain").as_int();
    progress.best_by = json.at("best-by").as_string();
    progress.averages = json.at("averages").as_bool();
    for (const io::Json& item : json.at("best").as_array()) {
      progress.best.push_back({item.at("checkpoint").as_string(), item.at("score").as_double()});
    }
    progress.cursor = json.at("cursor");
    return progress;
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
}

}  // namespace seqmill::train
