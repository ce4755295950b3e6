"""Reads damaged files by the ten thousand, in processes of limited memory: a table of what came of
each kind, and exit code 1 where anything but a result or a documented error did.

    python tests/fuzz.py --count 100000 --seed 1 --jobs 2 --keep defects

Input `number` of a kind and a seed is always the same: `--kind K --seed S --first NUMBER --count 1`
reads one again. Run from the project's folder; it is no part of the tests, which read 2,000.
"""

import argparse
import multiprocessing
import resource
import signal
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path

from mutations import mutated
from outcomes import DOCUMENTED, MAX_NBYTES, MAX_SECONDS, SHARES, STEPS, Outcome, outcome
from process import cpu_seconds
from tabulate import tabulate
from valid_files import VALID

MIB = 1 << 20
ROOM = 512 * MIB  # of address space, beyond what a process takes before it reads
HANG = 60  # seconds of a processor for one input, after which the process is ended
CHUNK = 200  # inputs that a process is handed at once
BY_COMMAND = 10  # every so many inputs are read from the command line too
TRACED = 20  # of so many inputs the bytes of one are counted


@dataclass
class Tally:
    """What came of the inputs of one kind."""

    words: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: int = 0
    nbytes: int = 0
    largest: int = 0
    resident: int = 0

    def add(self, number: int, one: Outcome, resident: int) -> None:
        self.words[one.word] += 1
        if one.seconds > self.seconds:
            self.seconds, self.slowest = one.seconds, number
        if one.nbytes > self.nbytes:
            self.nbytes, self.largest = one.nbytes, number
        self.resident = max(self.resident, resident)


class Worker:
    """A process that reads inputs, and how far it is with the chunk it was handed."""

    def __init__(self, seed: int) -> None:
        context = multiprocessing.get_context("fork")  # which inherits the valid files
        self.connection, there = context.Pipe()
        self.process = context.Process(
            target=_work, args=(self.connection, there, seed), daemon=True
        )
        self.process.start()
        there.close()
        self.kind, self.numbers = "", iter(())
        self.number: int | None = None

    def take(self, kind: str, numbers: range) -> None:
        self.kind, self.numbers = kind, iter(numbers)
        self.number = next(self.numbers, None)
        self.connection.send((kind, numbers))

    def step(self) -> None:
        self.number = next(self.numbers, None)

    def end(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _work(caller: Connection, connection: Connection, seed: int) -> None:
    caller.close()  # so that this process ends with the one that started it
    warnings.simplefilter("error")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        while True:
            kind, numbers = connection.recv()
            for number in numbers:
                case = mutated(kind, seed, number)
                end = int(cpu_seconds()) + HANG
                resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))
                by_command, traced = number % BY_COMMAND == 0, number % TRACED == 0
                one = outcome(case, Path(folder), by_command=by_command, traced=traced)
                resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
                connection.send((one, resident))


def chunks(kinds: list[str], first: int, count: int) -> Iterator[tuple[str, range]]:
    """The inputs, of each kind its share, in turn."""
    whole = sum(SHARES[kind] for kind in kinds)
    ends = [
        count * sum(SHARES[kind] for kind in kinds[: at + 1]) // whole for at in range(len(kinds))
    ]
    sizes = {kind: end - begin for kind, begin, end in zip(kinds, [0, *ends], ends, strict=False)}
    for place in range(0, max(sizes.values()), CHUNK):
        for kind, size in sizes.items():
            if place < size:
                yield kind, range(first + place, first + min(place + CHUNK, size))


def fuzz(
    kinds: list[str], first: int, count: int, seed: int, jobs: int, keep: Path | None
) -> dict[str, Tally]:
    """Reads so many inputs; defects are told as they are found, and kept."""
    tallies = {kind: Tally() for kind in kinds}
    todo = chunks(kinds, first, count)
    workers: list[Worker] = []

    def hand(worker: Worker, rest: range | None = None) -> None:
        kind, numbers = (worker.kind, rest) if rest else next(todo, ("", range(0)))
        if numbers:
            worker.take(kind, numbers)
        else:
            worker.end()
            workers.remove(worker)

    def note(worker: Worker, one: Outcome, resident: int = 0) -> None:
        assert worker.number is not None
        tallies[worker.kind].add(worker.number, one, resident)
        if not one.is_documented:
            _tell(worker.kind, seed, worker.number, one, keep)
        worker.step()

    def replace(worker: Worker, one: Outcome) -> None:
        """Another process for one that is dead: it reads the rest of the chunk."""
        note(worker, one)
        rest = [*([] if worker.number is None else [worker.number]), *worker.numbers]
        worker.end()
        other = Worker(seed)
        other.kind = worker.kind
        workers[workers.index(worker)] = other
        hand(other, range(rest[0], rest[-1] + 1) if rest else None)

    for _ in range(jobs):
        workers.append(Worker(seed))
        hand(workers[-1])
    while workers:
        ready = wait([worker.connection for worker in workers])
        for worker in [worker for worker in workers if worker.connection in ready]:
            try:
                one, resident = worker.connection.recv()
            except EOFError:
                worker.process.join()
                code = worker.process.exitcode
                word = "hang" if code == -signal.SIGXCPU else "crash"
                replace(worker, Outcome(word, f"exit code {code}", 0.0, 0))
                continue
            note(worker, one, resident)
            if worker.number is None:
                hand(worker)
    return tallies


def _tell(kind: str, seed: int, number: int, one: Outcome, keep: Path | None) -> None:
    print(f"{one.word}: --kind {kind} --seed {seed} --first {number} --count 1: {one.said!r:.300}")
    if keep:
        folder = keep / f"{kind}-{seed}-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        mutated(kind, seed, number).write(folder)


def table(tallies: dict[str, Tally]) -> str:
    """A row a kind: how many of each outcome, the worst time, the worst memory, and whose."""
    words = [*DOCUMENTED, *sorted({w for t in tallies.values() for w in t.words} - {*DOCUMENTED})]
    rows = [
        [
            kind,
            sum(tally.words.values()),
            *(tally.words[word] for word in words),
            f"{tally.seconds:.3f}",
            tally.slowest,
            f"{tally.nbytes / MIB:.1f}",
            tally.largest,
            f"{tally.resident / MIB:.0f}",
        ]
        for kind, tally in tallies.items()
    ]
    sums = [sum(column) for column in zip(*(row[1 : 2 + len(words)] for row in rows), strict=True)]
    rows.append(["all", *sums])
    heads = ["kind", "inputs", *words, "worst s", "by", "worst MiB", "by", "max rss MiB"]
    return tabulate(rows, heads, disable_numparse=True, colalign=("left",))


def _warm_up() -> None:
    """Makes and reads the valid files of all kinds, so that what is imported and made for the first
    file that is read is not laid to its charge. A damage can borrow from any kind."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in STEPS:
            for valid in VALID[kind]():
                one = outcome(valid.case(kind), Path(folder), by_command=True)
                assert one.word == "result", f"a valid file of {kind}: {one}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="inputs in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kind", choices=[*STEPS], help="inputs of one kind only")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, help="a folder for inputs that show a defect")
    asked = parser.parse_args()
    kinds = [asked.kind] if asked.kind else [*STEPS]
    _warm_up()
    tallies = fuzz(kinds, asked.first, asked.count, asked.seed, asked.jobs, asked.keep)
    print(table(tallies))
    defects = sum(
        n for t in tallies.values() for word, n in t.words.items() if word not in DOCUMENTED
    )
    print(
        f"{defects} defects; seed {asked.seed},"
        f" {cpu_seconds(resource.RUSAGE_CHILDREN):.0f} s of processors;"
        f" each input within {MAX_SECONDS} s and {ROOM // MIB} MiB of address space,"
        f" one in {TRACED} within {MAX_NBYTES // MIB} MiB allocated"
    )
    return 1 if defects else 0


if __name__ == "__main__":
    sys.exit(main())
