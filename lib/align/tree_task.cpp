#include "align/tree_task.h"

#include "base/options.h"

namespace seqmill::align {

void TreeTaskOptions::declare(Options& options) {
  options.add("batch-tokens", batch_tokens, "Tokens per batch, those of a prompt and all of its answers").range(1);
  options.add("part-tokens", part_tokens, "A batch is worked on in parts of about this many tokens at the same time (CPU)").range(1);
  options.add("bucket-batches", bucket_batches, "Comparisons are sorted by length within windows of this many batches").range(1);
  options.add("share-prompts", share_prompts, "Compute a prompt once for all of its answers; the result is the same but for rounding");
}

}  // namespace seqmill::align
