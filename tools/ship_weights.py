"""Put the weights of a training run among those that vo3d brings, with a card that says how they were made.

    python tools/ship_weights.py --run runs/mvsnet_tabletop --name mvsnet_tabletop \
        --about "MVSNet trained on rendered tables only" --figures runs/compare_mvs/table.json:MVSNet

The card holds the model, the data, the optimiser and its schedule, the steps taken and the versions, all read from the
run folder, and the figures of one row of a table in JSON (a row is a table of numbers under the name after the colon).
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from jsonargparse import auto_cli

from vo3d.errors import Vo3dError
from vo3d.formats.weights import load_weights
from vo3d.inference.cards import save_pretrained
from vo3d.model import Model
from vo3d.settings.build import build
from vo3d.settings.files import read_settings
from vo3d.settings.run_folder import VERSIONS, find_checkpoint, read_run

WEIGHTS = Path(__file__).resolve().parents[1] / "vo3d" / "weights"


def ship(
    run: Path, name: str, about: str, figures: str, weights: str = "best", notes: str = "", half: bool = False
) -> Path:
    """Write the weights of `run` and their card into the package.

    Args:
        run: the folder that vo3d fit made.
        name: of the weights from now on.
        about: one line on what they are.
        figures: a JSON file, a colon, and the name of the row that is about these weights.
        weights: best, last, or a checkpoint.
        half: write numbers of 16 bits, which load into any model.
        notes: what else there is to say about the training, such as what it started from and how long it took.
    """
    config = read_run(run)
    spec = config["model"]["net"]
    model: Model = build(Model, spec, str(run))
    checkpoint = find_checkpoint(weights, run)
    load_weights(model, checkpoint)
    if half:
        model.half()
    path = WEIGHTS / f"{name}.safetensors"
    init_args = spec.get("init_args", {})
    made = read_settings(run / VERSIONS)
    recipe = {
        "data": config["data"]["train"],
        "batch_size": config["data"]["batch_size"],
        "optimizer": config["model"].get("optimizer"),
        "scheduler": config["model"].get("scheduler"),
        "steps": int(torch.load(checkpoint, map_location="cpu", weights_only=True)["global_step"]),
        "seed": config.get("seed_everything"),
        "versions": made["versions"],
        "device": made["device"],
        "date": str(made["date"]),
    } | ({"notes": notes} if notes else {})
    save_pretrained(path, model, spec["class_path"], init_args, recipe, _row(figures), about=about)
    return path


def _row(place: str) -> dict[str, Any]:
    """One row of a table in a JSON file."""
    file, _, name = place.rpartition(":")
    table = json.loads(Path(file).read_text(encoding="utf-8"))
    if name not in table:
        raise Vo3dError(f"{file}: no row {name!r}: expected one of {', '.join(table)}")
    return dict(table[name])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    try:
        path = auto_cli(ship, args=arguments, as_positional=False, allow_abbrev=False)
    except Vo3dError as error:
        print(f"ship_weights: {error}", file=sys.stderr)
        return 2
    print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
