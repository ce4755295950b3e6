"""Reads damaged files of one kind, led by which lines of the readers they reach. Needs atheris,
which is no dependency of the tests.

    python tests/fuzz_guided.py config -runs=100000 -max_total_time=600

What follows the kind is for libFuzzer; an input that shows a defect is left as crash-*.
"""

import sys
import tempfile
import warnings
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["scalecheck"], enable_loader_override=False):
    from mutations import BYTE_EDITS, EDITS, MAX_NBYTES, UNFIT
    from outcomes import STEPS, Outcome, outcome
    from valid_files import VALID, Case, Valid


class Defect(Exception):
    """What libFuzzer takes for a crash."""


def guide(kind: str, options: list[str]) -> None:
    """Starts with the valid files of a kind, and never returns."""
    folder = Path(tempfile.mkdtemp())
    seeds = folder / "seeds"
    seeds.mkdir()
    for number, valid in enumerate(VALID[kind]()):
        # The first byte says which of the valid files the rest takes the place in.
        (seeds / str(number)).write_bytes(bytes([number]) + valid.files[valid.target])

    def valid_of(content: bytes) -> Valid:
        return VALID[kind]()[content[0] % len(VALID[kind]())]

    def read(content: bytes) -> None:
        if not content:
            return
        valid = valid_of(content)
        files = {**valid.files, valid.target: content[1:]}
        work = folder / "work"
        work.mkdir(exist_ok=True)
        one: Outcome = outcome(Case(kind, files, valid.path), work, traced=True)
        if not one.is_documented:
            raise Defect(f"{one.word}: {one.said}")

    def damage(content: bytes, limit: int, seed: int) -> bytes:
        """Half of the time what libFuzzer does, otherwise a damage to what the bytes mean."""
        rng = Random(seed)
        if not content or rng.random() < 0.5:
            return atheris.Mutate(content, limit)
        edits = EDITS[valid_of(content).form] if rng.random() < 0.8 else BYTE_EDITS
        try:
            damaged = rng.choice(edits)(content[1:], rng)
        except UNFIT:
            return atheris.Mutate(content, limit)
        return (content[:1] + damaged)[: min(limit, MAX_NBYTES)]

    warnings.simplefilter("error")
    arguments = [sys.argv[0], *options, f"-max_len={MAX_NBYTES}", "-timeout=600", str(seeds)]
    atheris.Setup(arguments, read, custom_mutator=damage)
    atheris.Fuzz()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in STEPS:
        sys.exit(f"a kind: {', '.join(STEPS)}")
    guide(sys.argv[1], sys.argv[2:])
