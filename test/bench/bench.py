"""What the benches share: medians of interleaved runs, ways to run PyTorch, a table for people, JSON lines for programs."""
import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
BIN = os.path.join(BUILD, "bin")
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")
# Without it each step of PyTorch gives its tensors back to the kernel and faults them in again.
KEEP_MEMORY = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=2000000000:glibc.malloc.top_pad=67108864"
PTHREAD_BLAS = "/usr/lib/x86_64-linux-gnu/openblas-pthread"


def parse(description, **own):
    """`own`: the bench's own options, each with its default and what --help says of it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="append one JSON line per figure to this file")
    parser.add_argument("--data", default=os.environ.get("DATA", os.path.join(ROOT, "../shared/data")), help="folder that holds mt-multi30k/ and lm-wikitext2/")
    parser.add_argument("--runs", type=int, default=3, help="runs of each case, interleaved")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of each run")
    for name, (default, text) in own.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default, help=text)
    return parser.parse_args()


def environment(changes):
    """Of this process, with variables set, or taken away (None)."""
    return {name: value for name, value in {**os.environ, **(changes or {})}.items() if value is not None}


def run(command, env=None):
    """Standard output of a command; an error shows what the command said. `env`: changes to the environment."""
    done = subprocess.run(command, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


# A child counts the memory that its parent had when it was started as its own: so the parent is a small one.
WATCHER = ("import json, resource, subprocess, sys, time\n"
           "begin = time.perf_counter()\n"
           "code = subprocess.run(sys.argv[2:]).returncode\n"
           "with open(sys.argv[1], 'w') as out:\n"
           "    json.dump([code, time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024], out)\n")


def watched(command, text=os.devnull, env=None):
    """A command that reads this file: its wall time, the peak memory of its largest process, its standard output and error."""
    with open(text) as given, tempfile.NamedTemporaryFile("r") as figures:
        done = subprocess.run([PYTHON, "-I", "-S", "-c", WATCHER, figures.name, *command], env=environment(env), stdin=given, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=True)
        code, seconds, peak = json.load(figures)
    if code != 0:
        sys.exit(f"{' '.join(command)}: exit {code}\n{done.stderr[-2000:]}")
    return {"seconds": seconds, "peak-bytes": peak, "out": done.stdout, "err": done.stderr}


def measured_training(command, run_directory, env=None, rate="target-tokens-per-second"):
    """Of a training tool that logs every update into this run directory: tokens (or what `rate` names) per second, the largest memory of a process, the losses by update, and the
    shares of the time by kind of work."""
    used = watched(command, env=env)["peak-bytes"]
    with open(os.path.join(run_directory, "metrics.jsonl")) as file:
        events = [json.loads(event) for event in file]
    rates = [event[rate] for event in events if event["split"] == "train"]
    losses = {event["step"]: event["loss"] for event in events if event["split"] == "train"}
    spent = [event["seconds-by-work"] for event in events if event["split"] == "train"][2:]
    total = sum(sum(seconds.values()) for seconds in spent)
    shares = {work: sum(seconds[work] for seconds in spent) / total for work in spent[0]}
    return {"tokens-per-second": statistics.median(rates[2:]), "peak-bytes": used, "losses": losses, "shares": shares}


def pytorch_environments():
    """The ways to run PyTorch: {name: variables}."""
    coretype = os.environ.get("OPENBLAS_CORETYPE", "")
    found = {}
    for blas, core in itertools.product(["openmp", "pthread"], ["set", "unset"]):
        if core == "set" and not coretype or blas == "pthread" and not os.path.isdir(PTHREAD_BLAS):
            continue
        variables = {}
        if blas == "pthread":
            variables.update(LD_LIBRARY_PATH=PTHREAD_BLAS, OMP_WAIT_POLICY="passive")
        if core == "unset":
            variables["OPENBLAS_CORETYPE"] = None
        found[f"{blas}, core type {core}"] = variables
        found[f"{blas}, core type {core}, memory kept"] = {**variables, "GLIBC_TUNABLES": KEEP_MEMORY}
    return found


def pytorch_at_its_best(label, measure, threads, precisions, only=""):
    """Tries PyTorch once in every way whose name has `only` in it: (name, threads, precision, environment) of the fastest one.
    `measure(threads, precision, environment)` gives its tokens per second."""
    trials = {}
    for count, precision, (name, env) in itertools.product(sorted({1, threads}), precisions, pytorch_environments().items()):
        way = f"{count} threads, {precision}, {name}"
        if only not in way:
            continue
        trials[way] = (measure(count, precision, env), way, count, precision, env)
        print(f"PyTorch {label}: {way}: {trials[way][0]:.0f} tokens/s", file=sys.stderr)
    if not trials:
        sys.exit(f"no way to run PyTorch has '{only}' in its name")
    return max(trials.values(), key=lambda trial: trial[0])[1:]


def interleaved(cases, runs):
    """{name: [results]} of {name: function}, round by round, so that what else the machine does falls on all of them."""
    results = {name: [] for name in cases}
    for round_number in range(runs):
        for name, measure in cases.items():
            print(f"run {round_number + 1} of {runs}: {name}", file=sys.stderr)
            results[name].append(measure())
    return results


class Report:
    def __init__(self, bench, json_file):
        self.bench, self.json_file, self.rows = bench, json_file, []

    def add(self, case, metric, values, unit, peer=None, peer_values=None):
        """`values` and `peer_values` are lists; their medians are compared."""
        value = statistics.median(values)
        peer_value = statistics.median(peer_values) if peer_values else None
        row = {"bench": self.bench, "case": case, "metric": metric, "value": value, "unit": unit, "low": min(values), "high": max(values),
               "peer": peer, "peer-value": peer_value, "ratio": value / peer_value if peer_value else None}
        self.rows.append(row)
        if self.json_file:
            with open(self.json_file, "a") as file:
                file.write(json.dumps(row) + "\n")

    def print(self):
        def text(number):
            return "" if number is None else f"{number:.3g}" if abs(number) < 100 else f"{number:,.0f}"
        print("| case | metric | median | range | unit | peer | its median | ratio |\n|---|---|---|---|---|---|---|---|")
        for row in self.rows:
            print(f"| {row['case']} | {row['metric']} | {text(row['value'])} | {text(row['low'])} .. {text(row['high'])} | {row['unit']} "
                  f"| {row['peer'] or ''} | {text(row['peer-value'])} | {text(row['ratio'])} |")
