"""`vo3d demo`: the main job from end to end, on rendered streets."""

import json
import shlex
from pathlib import Path

from rich.console import Console

from vo3d.pipelines.evaluate import evaluate_run
from vo3d.settings.files import find_config
from vo3d.training.command import run

CONFIGS = ("deepvo_rendered.yaml", "optim_adam.yaml", "trainer_cpu.yaml")
BASELINES = ("baseline_classic_height.yaml", "baseline_classic_stereo.yaml", "constant")
# The classic pipeline tracks corners to parts of a pixel: it is given the sharper frames that it needs, and the stereo
# partner that one of the two takes its scale from.
BASELINE_DATA = {"size": [128, 416], "stereo": True, "cache": True}
# Of 8 min 4 s on two cores, docs/benchmarks.md.
TRAINING = (
    "1 of 2: train DeepVO on 16 streets: about 5 minutes on two cores. The first epoch renders their frames, too, and "
    "is the slowest."
)
SCORING = "2 of 2: score it beside three baselines on streets that it never saw: about 3 minutes on two cores."


def run_demo(out: Path) -> None:
    """Train DeepVO (small) on rendered streets, then score it beside the baselines on streets it never saw.

    Each step is shown as the command that does the same, with the minutes that it takes. Raises what the
    step raises that fails; what the steps before it made stays in `out`.
    """
    console = Console()

    def show(plan: str, *words: str) -> None:
        console.print(f"\n{plan}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"$ {shlex.join(['vo3d', *words])}\n", style="bold", markup=False, soft_wrap=True)

    options = ["--out", str(out), "--overwrite", "true"]
    show(TRAINING, "fit", *(word for name in CONFIGS for word in ("-c", name)), *options)
    run(["fit", *(word for name in CONFIGS for word in ("-c", find_config(name))), *options])
    data = json.dumps(BASELINE_DATA)
    show(SCORING, "evaluate", str(out), "--baselines", *BASELINES, "--baseline-data", data, "--device", "cpu")
    evaluate_run(out, baselines=BASELINES, baseline_data=BASELINE_DATA, device="cpu")
    console.print(f"\nOpen {out}/evaluation/test/report.html for the pictures.", markup=False)
