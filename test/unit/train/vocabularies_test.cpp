#include "train/vocabularies.h"

#include "unit/model/models.h"

using namespace seqmill;
using namespace seqmill::train;
using namespace seqmill::test;
namespace fs = std::filesystem;

namespace {

std::string text_of(uint64_t seed) {
  std::string text;
  for (const std::string& line : model::random_lines(80, seed)) text += line + "\n";
  return text;
}

std::string given_vocabulary(const std::string& path, int64_t size) {
  const TempDir dir;
  text::VocabularyTraining training;
  training.size = size;
  training.byte_fallback = false;
  text::train_vocabulary({put(dir / "text", text_of(3))}, training, path);
  return path;
}

/// A run beside two sides of text and a given vocabulary.
struct Place {
  TempDir dir;
  io::RunDir run{dir / "run"};
  std::string source = put(dir / "a", text_of(1)), target = put(dir / "b", text_of(2));
  std::string given = given_vocabulary(dir / "given.spm", 18);

  model::Vocabularies prepare(const VocabularyOptions& options) {
    return prepare_vocabularies(options, source, target, run, 1);
  }
  Failure failure(const VocabularyOptions& options) {
    return failure_of([&] { prepare(options); });
  }
  bool has(const std::string& name) const { return fs::exists(run.file(name)); }
};

VocabularyOptions sized(int64_t size) {
  VocabularyOptions options;
  options.size = size;
  options.byte_fallback = false;
  return options;
}

}  // namespace

TEST_CASE("options that do not go together are usage errors", "[vocabularies]") {
  Place place;
  const auto check = [&](const VocabularyOptions& options, const std::string& part) {
    CAPTURE(part);
    const Failure failure = place.failure(options);
    CHECK(failure.exit_code == kExitUsage);
    CHECK(failure.says(part));
    CHECK_FALSE((place.has("vocab.spm") || place.has("vocab.src.spm") || place.has("vocab.tgt.spm")));
  };
  check({}, "give --vocab FILE, --vocab-src and --vocab-tgt, or --vocab-size N");
  VocabularyOptions options = sized(20);
  options.joint = place.given;
  check(options, "a vocabulary or --vocab-size, not both");
  options.size = 0;
  options.source = options.target = place.given;
  check(options, "give --vocab, or --vocab-src and --vocab-tgt, not both");
  options.joint.clear();
  options.target.clear();
  check(options, "--vocab-src and --vocab-tgt go together");
  std::swap(options.source, options.target);
  check(options, "--vocab-src and --vocab-tgt go together");
  place.target.clear();
  options = sized(20);
  options.separate = true;
  check(options, "--vocab-separate needs two files");
}

TEST_CASE("given vocabularies are copied into the run", "[vocabularies]") {
  Place joint;
  VocabularyOptions options;
  options.joint = joint.given;
  const model::Vocabularies one = joint.prepare(options);
  CHECK((one.shared() && one.source->size() == 18));
  CHECK((get(joint.run.file("vocab.spm")) == get(joint.given)));

  Place two;
  options = {};
  options.source = two.given;
  options.target = given_vocabulary(two.dir / "other.spm", 22);
  const model::Vocabularies sides = two.prepare(options);
  CHECK((!sides.shared() && sides.source->size() == 18 && sides.target->size() == 22));
  CHECK((get(two.run.file("vocab.tgt.spm")) == get(two.dir / "other.spm")));
  CHECK_FALSE(two.has("vocab.spm"));
}

TEST_CASE("a damaged vocabulary is refused before it is copied", "[vocabularies]") {
  Place place;
  VocabularyOptions options;
  options.joint = put(place.dir / "bad.spm", "no vocabulary");
  const Failure failure = place.failure(options);
  CHECK(failure.exit_code == kExitFailure);
  CHECK(failure.says(options.joint));
  CHECK_FALSE(place.has("vocab.spm"));
}

TEST_CASE("a vocabulary is trained on both sides, on each, or on a TSV", "[vocabularies]") {
  Place joint;
  CHECK(joint.prepare(sized(24)).source->size() == 24);
  text::VocabularyTraining training;
  training.size = 24;
  training.byte_fallback = false;
  text::train_vocabulary({joint.source, joint.target}, training, joint.dir / "expected");
  CHECK((get(joint.run.file("vocab.spm")) == get(joint.dir / "expected")));

  Place sides;
  VocabularyOptions options = sized(20);
  options.separate = true;
  put(sides.target, "xyz xyz zzz yyy xxx zyx zxy yxz xzy yz zx xy\nxx yy zz xyx yzy zxz xyzx yzxy\n");
  const model::Vocabularies separate = sides.prepare(options);
  CHECK_FALSE(separate.shared());
  CHECK(separate.source->encode("x").back() == separate.source->unk());
  CHECK(separate.target->encode("x").back() != separate.target->unk());

  Place tsv;
  put(tsv.source, "abc\tdef\ncab\tfed\n");
  tsv.target.clear();
  const model::Vocabularies both = tsv.prepare(sized(12));
  CHECK((both.shared() && both.source->encode("f").back() != both.source->unk()));
}

TEST_CASE("the options of training are used", "[vocabularies]") {
  Place place;
  VocabularyOptions options = sized(24);
  options.type = "unigram";
  options.character_coverage = 0.99;
  text::VocabularyTraining training;
  training.size = 24;
  training.type = "unigram";
  training.character_coverage = 0.99;
  training.byte_fallback = false;
  text::train_vocabulary({place.source, place.target}, training, place.dir / "expected");
  place.prepare(options);
  CHECK((get(place.run.file("vocab.spm")) == get(place.dir / "expected")));
}

TEST_CASE("a run with checkpoints keeps its vocabulary", "[vocabularies]") {
  Place place;
  place.prepare(sized(24));
  const std::string before = get(place.run.file("vocab.spm"));
  place.run.save_checkpoint(1, [](const std::string& directory) { put(directory + "/model.safetensors", "x"); });
  CHECK(place.failure(sized(30)).says("--vocab-size 30: this run was begun with a vocabulary of 24 pieces"));
  CHECK(place.prepare(sized(24)).source->size() == 24);
  CHECK(place.prepare({}).source->size() == 24);
  VocabularyOptions given;
  given.joint = put(place.dir / "copy.spm", before);
  CHECK(place.prepare(given).source->size() == 24);
  given.joint = place.given;
  const Failure failure = place.failure(given);
  CHECK(failure.exit_code == kExitUsage);
  CHECK(failure.says(place.given + " is another vocabulary"));
  CHECK((get(place.run.file("vocab.spm")) == before));
}

TEST_CASE("what a run without checkpoints left is made anew", "[vocabularies]") {
  Place place;
  VocabularyOptions separate = sized(20);
  separate.separate = true;
  CHECK_FALSE(place.prepare(separate).shared());
  const model::Vocabularies joint = place.prepare(sized(24));
  CHECK((joint.shared() && joint.source->size() == 24));
  CHECK_FALSE((place.has("vocab.src.spm") || place.has("vocab.tgt.spm")));
  put(place.run.file("vocab.src.spm"), "half");
  CHECK(place.prepare(separate).source->size() == 20);
  CHECK_FALSE(place.has("vocab.spm"));
}

TEST_CASE("the run's own vocabulary may be given, and a damaged one loses nothing", "[vocabularies]") {
  Place place;
  place.prepare(sized(24));
  const std::string file = place.run.file("vocab.spm"), before = get(file);
  VocabularyOptions given;
  given.joint = file;
  CHECK(place.prepare(given).source->size() == 24);
  CHECK((get(file) == before));
  CHECK(place.failure({}).exit_code == kExitUsage);
  CHECK((get(file) == before));
  given.joint = put(place.dir / "damaged.spm", "no vocabulary");
  CHECK(place.failure(given).says("damaged.spm"));
  CHECK((get(file) == before));
}
