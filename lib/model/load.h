#pragma once
// Trained models from disk.

#include <memory>
#include <string>

#include "infer/vocabularies.h"
#include "model/seq2seq.h"

namespace seqmill::model {

struct LoadedSeq2Seq {
  std::unique_ptr<Seq2Seq> model;
  infer::Vocabularies vocabularies;
};

/// Throws Error for a model of int8-quantize, whose integers `what` ("LibTorch does not decode").
void refuse_integers(const std::string& weights, const std::string& what);

/// `path`: model directory, checkpoint or run. `average` > 0: the mean of that many newest checkpoints of a run instead of one.
LoadedSeq2Seq load_seq2seq(const std::string& path, int64_t average = 0);

/// Gives `model` the weights of the trained model at `path`, as far as names and shapes fit, and logs what was taken and what was not. Rows
/// that stand for pieces of another vocabulary are left. Throws Error when nothing fits.
void initialise_from(const std::string& path, Seq2Seq& model, const infer::Vocabularies& vocabularies);

/// The model that a config.yaml describes, its weights unset.
std::unique_ptr<Seq2Seq> build_seq2seq(const std::string& config, const infer::VocabularySizes& sizes);

}  // namespace seqmill::model
