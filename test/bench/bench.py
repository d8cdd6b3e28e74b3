"""What the benches share: medians of interleaved runs, a table for people, JSON lines for programs."""
import argparse
import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build")
BIN = os.path.join(BUILD, "bin")


def parse(description, **own):
    """`own`: the bench's own options, each with its default and what --help says of it."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="append one JSON line per figure to this file")
    parser.add_argument("--data", default=os.environ.get("DATA", os.path.join(ROOT, "../shared/data")), help="folder that holds mt-multi30k/")
    parser.add_argument("--runs", type=int, default=3, help="runs of each case, interleaved")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of each run")
    for name, (default, text) in own.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default, help=text)
    return parser.parse_args()


def run(command, env=None):
    """Standard output of a command; an error shows what the command said. `env`: variables to set, or to take away (None)."""
    variables = {name: value for name, value in {**os.environ, **(env or {})}.items() if value is not None}
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


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
