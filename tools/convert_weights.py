"""Turn a published checkpoint into weights of vo3d (safetensors), and say where every key went.

Example, FlowNetS as the start of a DeepVO at 640 x 192:

    python tools/convert_weights.py --checkpoint flownets_bn_EPE2.459.pth --out deepvo_flownets.safetensors \
        --model DeepVO --model.size [192,640] --model.batch_norm true --model.leaky_slope 0.1
"""

import json
import sys
from pathlib import Path

from jsonargparse import auto_cli

import vo3d.models.deepvo  # noqa: F401  (so that --model finds the class by its bare name)
from vo3d.errors import Vo3dError
from vo3d.formats.weights import FIXED_KEY, ImportReport, load_weights, save_weights, sha256_of
from vo3d.model import Model


def convert(checkpoint: Path, out: Path, model: Model) -> ImportReport:
    """Load a published checkpoint into a model and write the model's weights.

    Args:
        checkpoint: the published file; no code that it may carry is run.
        out: the file to write, with the suffix .safetensors.
        model: the method, built as the checkpoint needs it.
    """
    if out.suffix != ".safetensors":
        raise Vo3dError(f"{out}: weights are written as safetensors: give the file the suffix .safetensors")
    report = load_weights(model, checkpoint)
    metadata = {
        "source": report.source,
        "checkpoint": checkpoint.name,
        "checkpoint_sha256": sha256_of(checkpoint),
        "dropped": " ".join(report.dropped),
        "kept": " ".join(report.kept),
        FIXED_KEY: json.dumps({name: getattr(model, name) for name in model.fixed}),
    }
    save_weights(out, model, metadata)
    return report


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 2 after a mistake that the user can mend."""
    try:
        report = auto_cli(convert, args=arguments, as_positional=False, allow_abbrev=False)
    except Vo3dError as error:
        print(f"convert_weights: {error}", file=sys.stderr)
        return 2
    print(*report.lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
