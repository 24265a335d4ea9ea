"""Turn a published checkpoint into weights of vo3d (safetensors), and say where every key went.

Example, FlowNetS as the start of a DeepVO at 640 x 192:

    python tools/convert_weights.py --checkpoint flownets_bn_EPE2.459.pth --out deepvo_flownets.safetensors \
        --model DeepVO --model.size [192,640] --model.batch_norm true --model.leaky_slope 0.1

and NetVLAD's release, as the structure in MATLAB's format that hloc brings:

    python tools/convert_weights.py --checkpoint Pitts30K_struct.mat --out pitts30k.safetensors \
        --model NetVLAD --model.whitened 4096
"""

import json
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from jsonargparse import auto_cli

import vo3d.models.deepvo  # (so that --model finds the classes by their bare names)
import vo3d.models.netvlad  # noqa: F401
from vo3d.errors import Vo3dError
from vo3d.formats.matlab_tree import read_tree
from vo3d.formats.weights import FIXED_KEY, ImportReport, load_weights, save_weights, sha256_of
from vo3d.model import Model
from vo3d.models.netvlad_port import from_structure


def convert(checkpoint: Path, out: Path, model: Model) -> ImportReport:
    """Load a published checkpoint into a model and write the model's weights.

    Args:
        checkpoint: the published file; no code that it may carry is run.
        out: the file to write, with the suffix .safetensors.
        model: the method, built as the checkpoint needs it.
    """
    if out.suffix != ".safetensors":
        raise Vo3dError(f"{out}: weights are written as safetensors: give the file the suffix .safetensors")
    report = _load_structure(model, checkpoint) if checkpoint.suffix == ".mat" else load_weights(model, checkpoint)
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


def _load_structure(model: Model, checkpoint: Path) -> ImportReport:
    """Load a network of NetVLAD's release."""
    try:
        state_dict = from_structure(read_tree(checkpoint, "the network net"))
    except Vo3dError as error:
        named = str(error) if str(error).startswith(str(checkpoint)) else f"{checkpoint}: {error}"
        raise Vo3dError(named) from error
    with TemporaryDirectory() as folder:
        save_weights(Path(folder) / "net.safetensors", state_dict, {})
        return replace(
            load_weights(model, Path(folder) / "net.safetensors"), source=f"NetVLAD's release ({checkpoint.name})"
        )


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
