"""Time and memory of exact search beside faiss-cpu's exact index (`IndexFlatL2`), in one run.

Example: `python tools/benchmark_search.py --threads 2`.

Unit vectors, as models of places give them: the queries are rows of the database with as much noise again. Each search
runs in a process of its own, so that its peak memory is its own; they take turns, and told are medians of seconds, and
the medians over the rounds of a search's time by that of faiss's index, also in processor time, which other programs
disturb least. The time in which the index is filled does not count. Beside the search in memory: vo3d's search by
faiss's kernels, and the same database in half precision on disk, whose rows are rounded.

Then the results are compared: the share of ranks at which a search and the index name the same row, and how far the
squared distances (in float64) of the others differ at most; of equal order up to rounding, that is next to nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmark_losses import judged
from vo3d.retrieval.descriptors import Descriptors
from vo3d.retrieval.search import search

TARGET, MEMORY = 1.3, 8.0  # of the index's time; gigabytes
TIE = 1e-5  # squared distances of unit vectors that float32 does not order
PEER, OURS = "faiss IndexFlatL2", "vo3d torch"
SEARCHES = (PEER, OURS, "vo3d faiss", "vo3d torch, float16 on disk")


def vectors(queries: int, database: int, dim: int) -> tuple[Tensor, Tensor]:
    """Queries and database, the same in every process."""
    generator = torch.Generator().manual_seed(43)
    rows = torch.randn(database, dim, generator=generator)
    rows /= rows.norm(dim=1, keepdim=True)
    near = rows[torch.randint(database, (queries,), generator=generator)]
    return normalize(near + torch.randn(queries, dim, generator=generator) / dim**0.5), rows


def prepared(name: str, rows: Tensor, num: int, folder: Path) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A search that gives numbers and squared distances."""
    if name == PEER:
        import faiss  # noqa: PLC0415

        index = faiss.IndexFlatL2(rows.shape[1])
        index.add(rows.numpy())

        def by_index(queries: Tensor) -> tuple[Tensor, Tensor]:
            squared, found = index.search(queries.numpy(), num)
            return torch.from_numpy(found), torch.from_numpy(squared)

        return by_index
    database = Descriptors(folder) if name.endswith("disk") else rows
    engine = "faiss" if name == "vo3d faiss" else "torch"

    def by_us(queries: Tensor) -> tuple[Tensor, Tensor]:
        found = search(queries, database, num, engine=engine)
        return found.index, found.squared

    return by_us


def peak_memory() -> float:
    """Gibibytes of this program at its peak; what `getrusage` tells includes the program that started it."""
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20


def run_one(arguments: argparse.Namespace, name: str, folder: Path) -> None:
    """Search once, write what is found, and print seconds and gigabytes as JSON."""
    torch.set_num_threads(arguments.threads)
    on_disk = name.endswith("disk")
    if on_disk:
        queries, rows = torch.load(folder / "queries.pt"), torch.empty(0)  # the database never is in memory
    else:
        queries, rows = vectors(arguments.queries, arguments.database, arguments.dim)
    find = prepared(name, rows, arguments.num, folder / "rows")
    if name == PEER:
        del rows  # the index has a copy
    start, busy = perf_counter(), process_time()
    found = find(queries)
    seconds, busy = perf_counter() - start, process_time() - busy
    torch.save(found, folder / f"{SEARCHES.index(name)}.pt")
    print(json.dumps({"seconds": seconds, "processor": busy, "gigabytes": peak_memory()}))


def differences(folder: Path, name: str, queries: Tensor, rows: Tensor) -> tuple[float, float]:
    """Share of equal ranks, and the largest difference of squared distances where rows are not equal."""
    index, peer = torch.load(folder / f"{SEARCHES.index(name)}.pt")[0], torch.load(folder / "0.pt")[0]
    query, rank = (index != peer).nonzero(as_tuple=True)
    largest = 0.0
    for part in torch.arange(len(query)).split(4096):
        wanted = queries[query[part]].double()
        ours, theirs = (rows[which[query[part], rank[part]]].double() for which in (index, peer))
        apart = (wanted - ours).square().sum(1) - (wanted - theirs).square().sum(1)
        largest = max([largest, *apart.abs().tolist()])
    return 1 - len(query) / index.numel(), largest


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--database", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=4096)
    parser.add_argument("--num", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    return parser.parse_args()


def fill(arguments: argparse.Namespace, folder: Path) -> None:
    """Write the queries, and the database in half precision."""
    queries, rows = vectors(arguments.queries, arguments.database, arguments.dim)
    torch.save(queries, folder / "queries.pt")
    on_disk = Descriptors(folder / "rows")
    for part in torch.split(rows, 10_000):
        on_disk.append(part)


def tell(arguments: argparse.Namespace, folder: Path, runs: dict[str, list[dict[str, float]]]) -> None:
    """Print a line for each search, and the targets."""
    queries, rows = vectors(arguments.queries, arguments.database, arguments.dim)
    print(f"{arguments.queries} queries in {arguments.database} of {arguments.dim}, {arguments.threads} threads")
    targets = []
    for name in SEARCHES:
        ratio, busy = (
            median(ours[which] / peer[which] for ours, peer in zip(runs[name], runs[PEER], strict=True))
            for which in ("seconds", "processor")
        )
        seconds = median(run["seconds"] for run in runs[name])
        memory = max(run["gigabytes"] for run in runs[name])
        equal, apart = differences(folder, name, queries, rows)
        print(
            f"{name:28} {seconds:7.2f} s, by the index's {ratio:5.2f} (processor time {busy:5.2f}), peak {memory:5.2f} "
            f"GiB, equal ranks {100 * equal:7.3f} %, else apart {apart:.1e}"
        )
        if name == OURS:
            targets += [
                judged("time by that of the index", ratio, TARGET),
                judged("GiB", memory, MEMORY),
                judged("squared distances apart where rows differ", apart, TIE),
            ]
    print(*targets, sep="\n")


def main() -> None:
    """Let the searches take turns, and compare what they find."""
    arguments = parsed()
    if arguments.one:
        run_one(arguments, arguments.one[0], Path(arguments.one[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(arguments, folder)
        runs: dict[str, list[dict[str, float]]] = {one: [] for one in SEARCHES}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(arguments.threads))  # of faiss
        for _ in range(arguments.rounds):
            for one in SEARCHES:
                command = [sys.executable, __file__, *sys.argv[1:], "--one", one, str(folder)]
                said = subprocess.run(
                    command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | threads
                ).stdout
                runs[one].append(json.loads(said))
        tell(arguments, folder, runs)


if __name__ == "__main__":
    main()
