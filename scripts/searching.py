"""What scripts that search the demo model share: a fleet to search with, and how far a search has come.

The hypervolume of a search counts divergences by their logarithm and times as ratios to uniform q4_k of the same
search, against the worst baselines times 1.1. Needs moocore.
"""

import contextlib
import math
import os
import sqlite3
import subprocess
import sys
import tempfile
import time

import moocore
import numpy

SHARES = [0.90, 0.95, 0.97, 0.99]
ANCHOR = "uniform q4_k"


class Agent:
    """What was typed of an agent."""

    def __init__(self, typed):
        self.name, self.cores, *variables = typed.split(":")
        self.threads = sum(
            int(last or first) - int(first) + 1
            for first, _, last in (part.partition("-") for part in self.cores.split(","))
        )
        self.variables = dict(variable.split("=", 1) for variable in variables)

    def environment(self):
        threads = str(self.threads)
        return {"CANDLE_NUM_THREADS": threads, "RAYON_NUM_THREADS": threads} | self.variables


class Fleet:
    """A coordinator with its agents, and a folder for all they write, until the end of a block."""

    def __init__(self, bitfront, agents):
        self.bitfront, self.agents = bitfront, agents
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        self.folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.database = os.path.join(self.folder, "fleet.sqlite")
        address = "127.0.0.1:7411"
        self.url = f"http://{address}"
        self.start(["serve", "--listen", address, "--database", self.database], {}, "coordinator")
        for agent in self.agents:
            arguments = ["agent", "--name", agent.name, "--cores", agent.cores]
            arguments += ["--cache", os.path.join(self.folder, agent.name)]
            self.start(arguments + ["--coordinator", self.url], agent.environment(), agent.name)
        return self

    def __exit__(self, *error):
        self.stack.close()

    def start(self, arguments, variables, name):
        variables = variables | {"BITFRONT_DATA_DIR": os.path.join(self.folder, f"data of {name}")}
        log = self.stack.enter_context(open(os.path.join(self.folder, f"{name}.log"), "w"))
        process = subprocess.Popen([self.bitfront, *arguments], env=os.environ | variables, stdout=log, stderr=log)
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)

    def ask(self, *arguments):
        command = [self.bitfront, *arguments, "--coordinator", self.url]
        for _ in range(50):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 4:
                break
            time.sleep(0.2)
        if done.returncode != 0:
            sys.exit(f"error: {' '.join(command)} ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def wait_for_agents(self):
        while self.ask("devices", "--format", "csv").count("\n") <= len(self.agents):
            time.sleep(0.5)

    def wait_for_end(self, searches):
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        query = "SELECT count(*) FROM searches WHERE state IN ('queued', 'running')"
        while connection.execute(query).fetchone()[0]:
            time.sleep(1)
        states = connection.execute("SELECT id, state, reason FROM searches").fetchall()
        if len(states) != searches or any(state != "done" for _, state, _ in states):
            sys.exit(f"error: the searches ended as {states}")

    def model(self):
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        return connection.execute("SELECT digest FROM models").fetchone()[0]

    def measured(self, search=None):
        """Qualities and times that were measured for a search or for all, without the confirmations."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)
        query = (
            "SELECT count(*) FROM measurements m JOIN tasks t ON t.id = m.task JOIN candidates c ON c.id = t.candidate "
            "WHERE t.kind = ?1 AND (?2 IS NULL OR c.search = ?2) "
            "AND t.purpose = 'search' AND m.accepted = 1 AND m.reused_from IS NULL"
        )
        return [connection.execute(query, [kind, search]).fetchone()[0] for kind in ("quality", "latency")]


def request(objectives, windows, evaluations):
    """The arguments of a search of the demo model."""
    return [
        "demo/model", "--data", "demo/evaluation.txt", "--calibration", "demo/calibration.txt",
        "--objective", objectives, "--windows", windows, "--evaluations", evaluations,
    ]


def read(path, search, objectives):
    """The points of a search in the order in which they became known, and those of its baselines."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    sizes, anchor, baselines = {}, None, set()
    for candidate, size, name in connection.execute(
        "SELECT id, size_bytes, baseline FROM candidates WHERE search = ?", [search]
    ):
        sizes[candidate] = size
        if name:
            baselines.add(candidate)
        if name and ANCHOR in name.split(", "):
            anchor = candidate
    figures = {candidate: {"size": size} for candidate, size in sizes.items()}
    rows = connection.execute(
        "SELECT t.candidate, m.kld, m.decode_ns, m.prefill_ns, m.outcome, m.stopped "
        "FROM measurements m JOIN tasks t ON t.id = m.task JOIN candidates c ON c.id = t.candidate "
        "WHERE c.search = ? AND m.accepted = 1 AND t.purpose = 'search' ORDER BY m.id",
        [search],
    )
    complete = {}
    for candidate, kld, decode, prefill, outcome, stopped in rows:
        known = figures[candidate]
        if outcome == "quality":
            # One that was given up is an evaluation, but no point.
            known["kld"] = math.inf if stopped else math.log(max(kld, 1e-6))
        elif outcome == "latency":
            known |= {"decode": decode, "prefill": prefill}
        if all(name in known for name in objectives):
            complete.setdefault(candidate, known)

    def point(known):
        scale = {name: figures[anchor][name] for name in ("decode", "prefill") if name in known}
        return [known[name] / scale.get(name, 1) for name in objectives]

    points = [point(known) for known in complete.values()]
    return points, [point(complete[it]) for it in baselines if it in complete]


def needed(points, reference, whole):
    """Evaluations to each share of a hypervolume, or nothing where it never came to that."""
    answer, done, share = [None] * len(SHARES), 0, 0.0
    for count in range(1, len(points) + 1):
        share = hypervolume(points[:count], reference) / whole
        while done < len(SHARES) and share >= SHARES[done]:
            answer[done], done = count, done + 1
    return answer, share


def hypervolume(points, reference):
    points = numpy.array([point for point in points if all(map(math.isfinite, point))])
    return moocore.hypervolume(points, ref=reference) if len(points) else 0.0


def reference_of(runs, objectives):
    """A margin beyond the worst baseline of any run."""
    worst = [max(point[at] for run in runs for point in run.baselines) for at in range(len(objectives))]
    margin = math.log(1.1)
    return [value + margin if name == "kld" else value * 1.1 for name, value in zip(objectives, worst)]
