"""Data-parallel training: two processes of one thread against one process of two threads, equal batches per update."""
import os

import bench
import translation

options = bench.parse(__doc__, seconds=(20.0, "of training in each run"), sizes=("S,B", "sizes of models to train, see test/bench/translation.py"))
report = bench.Report("parallel", options.json)
trainings = translation.Trainings(options.data)
launcher = ["mpirun", "-n", "2", "--oversubscribe", "--bind-to", "none", *(["--allow-run-as-root"] if os.geteuid() == 0 else [])]

for name in options.sizes.split(","):
    size = translation.SIZES[name]
    vocabulary = trainings.vocabulary(size)
    limits = ["--accumulate", "2", "--max-time", f"{options.seconds}s"]
    results = bench.interleaved({
        "ranks": lambda: trainings.measure(size, vocabulary, [*limits, "--threads", "1"], launcher),
        "threads": lambda: trainings.measure(size, vocabulary, [*limits, "--threads", "2"])}, options.runs)
    values = lambda case, key: [result[key] for result in results[case]]
    report.add(f"{name}, 2 ranks x 1 thread", "target tokens", values("ranks", "tokens-per-second"), "1/s", "1 rank x 2 threads",
               values("threads", "tokens-per-second"))
    report.add(f"{name}, 2 ranks x 1 thread", "peak memory of a process", [value / 2**20 for value in values("ranks", "peak-bytes")], "MiB",
               "1 rank x 2 threads", [value / 2**20 for value in values("threads", "peak-bytes")])

size = translation.SIZES["S"]
vocabulary = trainings.vocabulary(size)
hundred = ["--accumulate", "2", "--batch-tokens", "1024", "--max-updates", "100", "--precision", "fp32", "--threads", "1"]
ranks = trainings.measure(size, vocabulary, hundred, launcher)["losses"][100]
alone = trainings.measure(size, vocabulary, hundred)["losses"][100]
report.add("S, fp32, loss after 100 updates", "2 ranks", [ranks], "nats", "1 rank", [alone])
report.print()
print(f"relative difference of the losses: {abs(ranks - alone) / alone:.1e}")
trainings.close()
