"""`vo3d demo`: the main job from end to end, by the same verbs that a user would type."""

import shlex
from pathlib import Path

from rich.console import Console

from vo3d.cli import run_verb

# The street's camera stands 1.65 m above the road, which gives one camera its scale; the stereo pair has its baseline.
CLASSIC = "vo3d.models.classic.ClassicOdometry"
BASELINES = (
    f'{{"class_path": "{CLASSIC}", "init_args": {{"scale": "height"}}}}',
    f'{{"class_path": "{CLASSIC}", "init_args": {{"scale": "stereo"}}}}',
    "constant",
)
# The classic pipeline tracks corners to parts of a pixel: it is given the sharper frames that it needs, and the stereo
# partner that one of the two takes its scale from.
BASELINE_DATA = '{"size": [128, 416], "stereo": true, "cache": true}'


def commands(out: Path) -> list[list[str]]:
    """The verbs of the demo, each as the words after `vo3d`."""
    configs = ["deepvo_rendered.yaml", "optim_adam.yaml", "trainer_cpu.yaml"]
    return [
        ["fit", *(word for name in configs for word in ("-c", name)), "--out", str(out), "--overwrite", "true"],
        ["evaluate", str(out), "--baselines", *BASELINES, "--baseline_data", BASELINE_DATA, "--device", "cpu"],
    ]


def run_demo(out: Path) -> None:
    """Train DeepVO (small) on rendered streets, then score it beside the baselines on streets it never saw.

    Raises what the step raises that fails; what the steps before it made stays in `out`.
    """
    console = Console()
    for words in commands(out):
        line = shlex.join(["vo3d", *words])
        console.print(f"\n$ {line}\n", style="bold", markup=False, soft_wrap=True)
        run_verb(words)
    console.print(f"\nOpen {out}/evaluation/test/report.html for the pictures.", markup=False)
