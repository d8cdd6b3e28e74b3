"""How long the tools take to start: the wall time of `TOOL --version`."""
import os
import subprocess
import time

import bench

options = bench.parse(__doc__, repeats=(10, "starts of a tool in each run, the mean of which counts"))


def start(tool):
    def measure():
        begin = time.perf_counter()
        for _ in range(options.repeats):
            subprocess.run([os.path.join(bench.BIN, tool), "--version"], stdout=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - begin) / options.repeats * 1000
    return measure


tools = sorted(name for name in os.listdir(bench.BIN) if os.access(os.path.join(bench.BIN, name), os.X_OK))
report = bench.Report("startup", options.json)
for tool, times in bench.interleaved({tool: start(tool) for tool in tools}, options.runs).items():
    report.add(tool, "start", times, "ms")
report.print()
