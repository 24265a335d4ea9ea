"""`vo3d optimizers`: the parts that were asked for, one after the other, and the page of all that are there."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from vo3d.formats.files import make_folder
from vo3d.optim.choice import choose
from vo3d.pipelines.optimizers.page import write_survey_page
from vo3d.pipelines.optimizers.regimes import run_regimes
from vo3d.pipelines.optimizers.surfaces import run_surfaces
from vo3d.pipelines.optimizers.training import run_training

PARTS: Mapping[str, Callable[[Path], list[Path]]] = {
    "surfaces": run_surfaces,
    "regimes": run_regimes,
    "training": run_training,
}
DEFAULT_PARTS = ("surfaces", "regimes")  # training takes an hour or two


def run_survey(out: Path, parts: Sequence[str] = ()) -> Path:
    """Run `parts` (of PARTS; without any, surfaces and regimes) into the folder `out`; return the path of its page.

    Raises Vo3dError for an unknown part, or a folder that cannot be written to.
    """
    wanted = list(dict.fromkeys(parts or DEFAULT_PARTS))
    chosen = [choose("--parts", part, PARTS) for part in wanted]
    make_folder(out)
    with one_thread():
        for run in chosen:
            run(out)
    return write_survey_page(out, shlex.join(["vo3d", "optimizers", "--out", str(out), "--parts", *wanted]))


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread: on a few numbers at a time, others only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
