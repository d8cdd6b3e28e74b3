"""Trains a reward model of Llama's shape with PyTorch on pairs of answers, or scores with one, as the outside baseline of `scripts/bench.sh rm`.

Written the way such programs usually are: the backbone of pytorch_lm.py, a linear head read at the last token, chosen and rejected answers of a batch one below the
other, each with its prompt, padded on the right to the longest; -log sigmoid of the difference; torch.optim.AdamW, autocast for bfloat16; pairs of similar length in a batch.
Prints one JSON object.

  train FILE    updates for a while: pairs per second
  score FILE    all pairs once: pairs per second

FILE: JSON lines {"prompt": [ids], "chosen": [ids], "rejected": [ids]}
"""
import argparse
import json
import resource
import statistics
import time

import numpy
import torch
from torch import nn
from torch.nn import functional

import pytorch_lm


class RewardModel(nn.Module):
    def __init__(self, options, positions):
        super().__init__()
        self.lm = pytorch_lm.LanguageModel(options, positions)
        self.lm.output = nn.Identity()
        self.head = nn.Linear(options.dim, 1, bias=False)

    def forward(self, tokens, lengths):
        states = self.lm(tokens)[torch.arange(len(lengths)), lengths - 1]
        return self.head(states).squeeze(1)


def read_pairs(path, window):
    """[(chosen, rejected)] of ids, each with its prompt, of at most `window` tokens."""
    with open(path) as lines:
        records = [json.loads(line) for line in lines]
    return [tuple((record["prompt"] + record[answer])[-window:] for answer in ("chosen", "rejected")) for record in records]


def batches_of(pairs, batch_tokens):
    """Lists of pairs of similar length that fill this many tokens, padding not counted."""
    batches, tokens = [[]], 0
    for pair in sorted(pairs, key=lambda pair: max(map(len, pair))):
        size = sum(map(len, pair))
        if batches[-1] and tokens + size > batch_tokens:
            batches.append([])
            tokens = 0
        batches[-1].append(pair)
        tokens += size
    return batches


def tensors_of(batch):
    sequences = [chosen for chosen, _ in batch] + [rejected for _, rejected in batch]
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    tokens = torch.zeros(len(sequences), int(lengths.max()), dtype=torch.long)
    for row, sequence in zip(tokens, sequences):
        row[:len(sequence)] = torch.tensor(sequence)
    return tokens, lengths


def scores_of(model, batch, options):
    with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16"):
        scores = model(*tensors_of(batch)).float()
    return scores[:len(batch)], scores[len(batch):]


def train(options):
    model = RewardModel(options, options.window)
    model.lm.initialise()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, foreach=True)
    batches = batches_of(read_pairs(options.pairs, options.window), options.batch_tokens)
    order, rates, begin = numpy.random.default_rng(options.seed), [], time.perf_counter()
    queue = []
    while len(rates) < options.warmup_updates + 2 or time.perf_counter() - begin < options.seconds:
        queue = queue or order.permutation(len(batches)).tolist()
        batch, start = batches[queue.pop()], time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        chosen, rejected = scores_of(model, batch, options)
        loss = -functional.logsigmoid(chosen - rejected).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rates.append((len(batch), time.perf_counter() - start, loss.item()))
    measured = rates[options.warmup_updates:]
    return {"pairs-per-second": sum(count for count, _, _ in measured) / sum(seconds for _, seconds, _ in measured), "loss": rates[-1][2]}


@torch.inference_mode()
def score(options):
    model = RewardModel(options, options.window).eval()
    if options.precision == "bf16":
        model = model.bfloat16()
    pairs = read_pairs(options.pairs, options.window)
    batches, rates = batches_of(pairs[:options.limit or len(pairs)], options.batch_tokens), []
    for turn in range(options.repeats + 1):
        begin, count = time.perf_counter(), 0
        for batch in batches[:4] if turn == 0 else batches:
            chosen, _ = scores_of(model, batch, options)
            count += len(chosen.tolist())
        if turn > 0:
            rates.append(count / (time.perf_counter() - begin))
    return {"pairs-per-second": statistics.median(rates)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for function in (train, score):
        command = commands.add_parser(function.__name__)
        command.set_defaults(function=function)
        command.add_argument("pairs", metavar="FILE")
        for name in ["vocabulary", "dim", "ffn", "heads", "kv-heads", "layers", "threads"]:
            command.add_argument("--" + name, type=int, required=True)
        command.add_argument("--precision", choices=["fp32", "bf16"], required=True)
        command.add_argument("--window", type=int, default=256)
        command.add_argument("--batch-tokens", type=int, default=4096)
        command.add_argument("--seconds", type=float, default=20)
        command.add_argument("--warmup-updates", type=int, default=2)
        command.add_argument("--repeats", type=int, default=1)
        command.add_argument("--limit", type=int, default=0, help="score so many pairs only")
        command.add_argument("--seed", type=int, default=1)
        command.set_defaults(tie=False, dropout=0.0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    result = options.function(options)
    print(json.dumps({**result, "peak-bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "torch": torch.__version__}))


if __name__ == "__main__":
    main()
