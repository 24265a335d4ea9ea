"""Harm small valid files at random and see that every reader refuses each in one short line, or reads it.

    python tools/fuzz_readers.py --mutants 50000

Each mutant has a number, from which and the name of its reader it can be made again. A fault is an exception of another
class than Vo3dError, a message of more than one line or of more than 300 characters, more than 500 MB of memory, more
than a minute, and the end of the process: readers run in a process of their own. The exit status is 1 after a fault.
"""

import os
import random
import re
import resource
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import ceil
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from jsonargparse import auto_cli

from vo3d.errors import Vo3dError

MOST_CHARACTERS, MOST_MEGABYTES, MOST_SECONDS = 300, 500, 60
WORDS = [word.encode() for word in ("nan inf -inf 1e400 -1e400 1e30 1e200 -1 0 0.5 9223372036854775808 \u0663").split()]
WORDS += [b"1" * 5000, b"9" * 400, b"[" * 5000, b"x" * 5000, b"\0", b"\r", b"\x1b[31m", b"\xff\xfe", b"\xef\xbb\xbf"]
BYTES = [
    *(b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", bytes(4), bytes(8), b"\x01\0\0\0"),
    *(struct.pack(code, float(value)) for value in ("nan", "inf", "1e200") for code in ("<d", ">d")),
]


@dataclass(frozen=True)
class Target:
    """A reader and a valid file for it."""

    name: str
    write: Callable[[Path], Path]  # into an empty folder; returns the file to harm
    read: Callable[[Path], object]  # that file
    seal: Callable[[bytes], bytes] = bytes  # mends checksums, so that harm gets further than they


Job = tuple[str, int]  # name of a target, number of a mutant
Outcome = tuple[str, str]  # read, refused, or a fault; what is to be said of it


def flip(content: bytes, chance: random.Random) -> bytes:
    """Change one byte."""
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def truncate(content: bytes, chance: random.Random) -> bytes:
    """Cut the end off."""
    return content[: chance.randrange(len(content))]


def insert(content: bytes, chance: random.Random) -> bytes:
    """Put a hostile word, or one of a line of its own, anywhere."""
    at, word = chance.randrange(len(content)), chance.choice(WORDS)
    return content[:at] + chance.choice([word, b" " + word + b" ", b"\n" + word + b"\n"]) + content[at:]


def replace(content: bytes, chance: random.Random) -> bytes:
    """Put a hostile word in the place of another."""
    word = chance.choice([*re.finditer(rb"[^\s,:\[\]{}]+", content)] or [re.compile(b"").search(content)])
    return content if word is None else content[: word.start()] + chance.choice(WORDS) + content[word.end() :]


def overwrite(content: bytes, chance: random.Random) -> bytes:
    """Put an extreme number in binary form over some bytes."""
    at, number = chance.randrange(len(content)), chance.choice(BYTES)
    return content[:at] + number + content[at + len(number) :]


def change_lines(content: bytes, chance: random.Random) -> bytes:
    """Drop, double or move a line."""
    lines = content.splitlines(keepends=True)
    line = lines.pop(chance.randrange(len(lines)))
    for _ in range(chance.randrange(3)):
        lines.insert(chance.randrange(len(lines) + 1), line)
    return b"".join(lines)


HARMS: Sequence[Callable[[bytes, random.Random], bytes]] = (flip, truncate, insert, replace, overwrite, change_lines)


def harm(content: bytes, target: Target, number: int) -> bytes:
    """Make a mutant of a valid file."""
    chance = random.Random(f"{target.name} {number}")  # noqa: S311 (nobody must guess it)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        content = chance.choice(HARMS)(content, chance) or b"\n"
    return target.seal(content) if chance.random() < 0.7 else content


def attempt(target: Target, path: Path, folder: Path) -> Outcome:
    """Read a file and tell what came of it."""
    try:
        target.read(path)
    except Vo3dError as error:
        message = str(error).replace(str(folder), "")
        if not message.isprintable() or len(message) > MOST_CHARACTERS:
            return "bad message", f"{len(message)} characters: {message!r}"
        return "refused", ""
    except Exception as error:  # noqa: BLE001 (what else there may be is what is looked for)
        return type(error).__name__, " ".join(str(error).split())[:MOST_CHARACTERS]
    return "read", ""


def megabytes() -> float:
    """Return the most memory that this process has had so far."""
    status = Path("/proc/self/status")  # what `resource` has on Linux begins with the most of the process that made it
    if status.is_file() and (most := re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="ascii"))):
        return int(most[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def work(connection: Connection, table: str, jobs: Sequence[Job]) -> None:
    """Do jobs in turn in a process of its own, whose last one sends too much memory back as its outcome."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # OpenCV and others talk of what they find
    all_targets: Mapping[str, Target] = import_module(table).TARGETS
    connection.send(("ready", ""))
    last = None
    for name, number in jobs:
        target = all_targets[name]
        if name != last:
            temporary, last = TemporaryDirectory(), name
            folder = Path(temporary.name).resolve()
            path = target.write(folder)
            valid = path.read_bytes()
            target.read(path)  # whatever it needs once is not the fault of a mutant
            before = megabytes()
        path.write_bytes(harm(valid, target, number))
        outcome = attempt(target, path, folder)
        if (grown := megabytes() - before) > MOST_MEGABYTES:
            connection.send(("memory", f"{grown:.0f} MB after {outcome[0]}"))
            return
        connection.send(outcome)


def outcomes(table: str, jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
    """Yield what came of each job; a process that ends before its work is done is a fault, and the next goes on."""
    context = get_context("spawn")
    done = 0
    while done < len(jobs):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(theirs, table, jobs[done:]), daemon=True)
        process.start()
        theirs.close()
        outcome = _received(ours, process, None)
        while done < len(jobs) and outcome[0] not in ("memory", "time", "crash"):
            outcome = _received(ours, process, MOST_SECONDS)
            yield jobs[done], outcome
            done += 1
        process.kill()
        process.join()


def _received(connection: Connection, process: BaseProcess, seconds: float | None) -> Outcome:
    """Wait for what a process tells of its next job."""
    try:
        found: Outcome = connection.recv() if connection.poll(seconds) else ("time", f"more than {seconds:g} s")
    except EOFError:
        process.join()
        found = ("crash", f"the process ended with {process.exitcode}")
    return found


def fuzz(mutants: int = 5000, readers: list[str] | None = None, first: int = 0, table: str = "fuzz_targets") -> int:
    """Harm files for every reader and count what becomes of them.

    Args:
        mutants: how many, over all readers.
        readers: their names, as the table of an earlier run shows them; without, all.
        first: the number of the first mutant of each reader.
        table: the module that holds the readers.

    Returns:
        The number of faults.
    """
    known: Mapping[str, Target] = import_module(table).TARGETS
    names = list(known) if readers is None else readers
    if strangers := [name for name in names if name not in known]:
        raise Vo3dError(f"there is no reader {strangers[0]!r}: choose from {', '.join(known)}")
    if mutants < 1:
        raise Vo3dError(f"mutants is {mutants}: expected at least 1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    start, each = perf_counter(), ceil(mutants / len(names))
    jobs = [(name, number) for name in names for number in range(first, first + each)]
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for (name, number), (what, words) in outcomes(table, jobs):
        counts[name][what] += 1
        if what not in ("read", "refused"):
            print(f"fault: {name}, mutant {number}: {what}: {words}")
    print(f"{'reader':32}{'read':>8}{'refused':>9}{'faults':>8}")
    faults = 0
    for name, count in counts.items():
        faults += (wrong := count.total() - count["read"] - count["refused"])
        print(f"{name:32}{count['read']:8}{count['refused']:9}{wrong:8}")
    print(f"{len(jobs)} mutants of {len(names)} readers, {faults} faults, {perf_counter() - start:.0f} s")
    return faults


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 1 after a fault, 2 after a mistake that the user can mend."""
    try:
        faults = auto_cli(fuzz, args=arguments, as_positional=False, allow_abbrev=False)
    except Vo3dError as error:
        print(f"fuzz_readers: {error}", file=sys.stderr)
        return 2
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
