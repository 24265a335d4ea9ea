"""`vo3d fit | validate | test`: Lightning's command line with its traps guarded."""

import inspect
import logging
import re
import signal
import sys
import warnings
from argparse import ArgumentError
from contextlib import nullcontext
from functools import reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from shlex import quote
from traceback import extract_tb
from typing import Any, get_args

from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.plugins import LayerSync, Precision
from lightning.pytorch.profilers import PassThroughProfiler, Profiler
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.trainer import Trainer
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from vo3d.errors import Vo3dError, printable
from vo3d.formats.candidates import visible_paths
from vo3d.formats.checkpoints import read_content, state_dict_of
from vo3d.formats.files import hold_folder
from vo3d.formats.weights import SETTINGS_KEY, check_finite
from vo3d.settings.complaints import complain_of_words, one_line
from vo3d.settings.files import check_shape, line_of_key, parse_settings, parse_yaml, read_settings, read_text
from vo3d.settings.own_modules import allowed_by, files_of
from vo3d.settings.run_folder import CHECKPOINTS, SPLITS, find_checkpoint
from vo3d.settings.trust import allowing, check_parts, guarded, refuse_strangers, strangers
from vo3d.training.calibration import calibrate
from vo3d.training.callbacks import AtomicCheckpoints, EarlyStop, History, Mode, RunFolder, StepSeed, standard_callbacks
from vo3d.training.datamodule import DataModule
from vo3d.training.learner import Learner
from vo3d.training.loops import install, is_resumable
from vo3d.training.pictures import ValidationPictures

EXAMPLES = {
    "fit": "train a model; example: vo3d fit -c deepvo_rendered.yaml -c optim_adam.yaml --out runs/deepvo",
    "validate": "losses of the validation set; example: vo3d validate -c runs/deepvo/config.yaml --ckpt_path best",
    "test": "losses of the test set; example: vo3d test -c runs/deepvo/config.yaml --ckpt_path best",
}
KINDS = (Callback, Logger, Profiler, Accelerator, Strategy, Precision, ClusterEnvironment, CheckpointIO, LayerSync)
ALLOW = "With --allow MODULE (or its file) files that -c does not name, and functions, may be of a module of your own."
WATCH = ("monitor_mode", "checkpoint_every", "patience", "min_delta", "patience_after")
START = {"model.init_weights", "model.partial"}  # of no account once a run has begun
RESUME = "resume with --ckpt_path last"
RESTORE = {"_restore_modules_and_callbacks", "restore_training_state"}  # Lightning's functions
# What ends a training from outside, by what it says: of a process that reads data, of a partner, of memory.
FAULTS = (
    RuntimeError, MemoryError, KeyError, ValueError, TypeError, AttributeError, IndexError, ConnectionError, EOFError
)  # fmt: skip
ENDS = {
    "a process that reads data died": r"DataLoader worker|Connection\w*Error|EOFError",  # also in the midst of a tensor
    "a partner process died": r"onnection (closed|reset) by peer|NCCL|Broken pipe|gloo",
    "memory ran out": r"MemoryError|out of memory|can't allocate memory|not enough memory",
}
STRICT = {"allow_abbrev": False, "exit_on_error": False}

# Warnings about Lightning's own code, which its users can do nothing about; seen with lightning 2.6.6, November 2026.
UPSTREAM_WARNINGS = (
    (FutureWarning, r".*LeafSpec.* is deprecated"),  # lightning.pytorch.utilities._pytree under torch 2.13
    (UserWarning, r"Checkpoint directory .* exists and is not empty"),  # `before_fit` decides that
    (UserWarning, r"Precision .* is not supported by the model summary"),  # which then counts 32 bits a parameter
    (UserWarning, r"Total length of `list` across ranks is zero"),  # no validation set: data.val is null
    (UserWarning, r"Found \d+ module\(s\) in eval mode"),  # normalisation that model.groups freezes
    (UserWarning, r"Be aware that when using `ckpt_path`"),  # callbacks follow the command line; tests need none
    (UserWarning, r"The dirpath has changed from"),  # a run folder that was moved, then resumed
    (UserWarning, r"The '\w+_dataloader' does not have many workers"),  # data.num_workers is the user's choice
)


class TrainingCLI(LightningCLI):
    """LightningCLI for one `Learner` and one `DataModule`, with a run folder and without four known traps.

    No option may be abbreviated; an absent checkpoint is an error, not a fresh start; settings come from the command
    line alone, and a resumed run whose settings differ from its checkpoint's is refused; errors are one line.
    """

    def __init__(self, args: list[str]) -> None:
        read_whole_numbers_first()
        self.verb = args[0]
        super().__init__(
            Learner,
            DataModule,
            save_config_callback=None,  # RunFolder does it
            trainer_defaults={"use_distributed_sampler": False, "deterministic": "warn"},  # ClipSampler does the first
            seed_everything_default=0,
            parser_kwargs={**STRICT, self.verb: {**STRICT, "description": f"{EXAMPLES[self.verb]}. {ALLOW}"}},
            args=args,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # RunFolder writes the configuration into each checkpoint
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Name the verb, and the arguments of Trainer's method that are not for the command line.

        The other two verbs would each take a parser as large as this one's, which takes a while to make.
        """
        given = {"model", "datamodule", "weights_only"}
        of_fit = {"train_dataloaders", "val_dataloaders"}
        return {self.verb: given | (of_fit if self.verb == "fit" else {"dataloaders", "verbose"})}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder and what is kept in it."""
        for option, kind, default, words in (
            ("out", Path, Path("runs/unnamed"), "The run folder."),
            ("overwrite", bool, False, "Throw away a run that the folder holds already."),
            ("monitor", str | None, "val/loss", "The logged value that best.ckpt has the best of."),
            ("monitor_mode", Mode, "min", "Whether its smallest or its largest is the best."),
            ("checkpoint_every", int, 200, "Steps between two writings of last.ckpt."),
            ("patience", int | None, None, "Validations without improvement before training stops."),
            ("min_delta", float, 0.0, "What counts as improvement is more than this."),
            ("patience_after", int, 0, "Steps before validations count."),
        ):
            parser.add_argument(f"--{option}", type=kind, default=default, help=words)
        parser.link_arguments("seed_everything", "data.seed")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, without Lightning's warning that sys.argv was not used."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            complain_of_words(error, self._subcommand_parsers[self.verb]._option_string_actions, self.verb)
        seed = self.config[self.config.subcommand].seed_everything
        if seed is not True and not 0 <= int(seed) < 1 << 32:
            raise Vo3dError(f"seed_everything is {seed}: expected a whole number from 0 to 4294967295, or true")

    def _parse_ckpt_path(self) -> None:
        """Find and check the checkpoint; Lightning's own version lets its settings override the command line."""
        options = self.config[self.verb]
        self.checkpoint = None if options.ckpt_path is None else find_checkpoint(options.ckpt_path, options.out)
        if self.checkpoint is not None:
            stored = read_checkpoint(self.checkpoint)
            self._refuse_other_settings(stored)
            if self.verb == "fit":
                check_resumable(stored, self.checkpoint)
        elif self.verb != "fit" and options.model.init_weights is None:
            raise Vo3dError(f"vo3d {self.verb} needs weights: give --ckpt_path best, or --model.init_weights FILE")

    def _refuse_other_settings(self, stored: dict[str, Any]) -> None:
        if SETTINGS_KEY not in stored:
            return
        parts = ("model", "seed_everything") if self.verb == "fit" else ("model.net",)
        then = _flat(parse_settings(stored[SETTINGS_KEY], str(self.checkpoint)))
        now = _flat(parse_settings(self._config_text(), "the command line"))
        for key in sorted(then.keys() | now.keys()):
            if key.startswith(parts) and then.get(key) != now.get(key) and key not in START:
                raise Vo3dError(
                    f"{self.checkpoint}: made with {key} = {printable(str(then.get(key)))[:120]}, now asked for "
                    f"{printable(str(now.get(key)))[:120]}: give the same value, or start anew from these weights with "
                    f"--model.init_weights {quote(str(self.checkpoint))}"
                )

    def _config_text(self) -> str:
        options = self.config[self.verb].clone()
        options.pop("config", None)
        options.ckpt_path = None  # a run replayed from its config.yaml starts where it once started
        options.overwrite = False
        return str(self._subcommand_parsers[self.verb].dump(options, skip_unset=False))

    def instantiate_classes(self) -> None:
        """Build the learner, the data and the trainer."""
        check_parts(self.config[self.verb], KINDS)
        self.config_init = self.parser.instantiate(self.config)
        self.datamodule = self._get(self.config_init, "data")
        self.model = self._get(self.config_init, "model")
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **options: Any) -> Trainer:
        """Build the trainer with vo3d's loggers and callbacks, which are the run folder's."""
        config = self.config_init[self.verb]
        folder: Path = config["out"]
        options = {**config["trainer"], **options, "default_root_dir": folder}
        plugins = options["plugins"] or []
        options["plugins"] = [AtomicCheckpoints(), *(plugins if isinstance(plugins, list) else [plugins])]
        seed = int(config["seed_everything"])
        own = files_of(strangers(self.config[self.verb].as_dict()))
        callbacks = [StepSeed(seed), RunFolder(folder, self._config_text(), seed, own)]
        if self.verb != "fit":
            options["logger"] = False
        else:
            callbacks += standard_callbacks(
                folder,
                monitor=None if self.datamodule.val is None else config["monitor"],
                bar=options["enable_progress_bar"] is not False,
                summary=options["enable_model_summary"] is not False,
                **{name: config[name] for name in WATCH},
            )
            callbacks.append(ValidationPictures())
            if options["logger"] is None:
                board = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
                options["logger"] = [board, History(folder)]
        try:
            trainer = self._instantiate_trainer(options, callbacks)
        except (MisconfigurationException, ValueError) as error:  # an accelerator that is absent or has no such name
            raise Vo3dError(f"the trainer refuses its settings: {error}") from error
        install(trainer)
        profiler = trainer.profiler  # type: ignore[attr-defined]
        if not isinstance(profiler, PassThroughProfiler):
            profiler.dirpath = profiler.dirpath or folder  # else it would report to the log, which is silent
            profiler.filename = profiler.filename or "profile"
        return trainer

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        return {
            "model": self.model,
            "datamodule": self.datamodule,
            "ckpt_path": self.checkpoint,
            "weights_only": True,  # never run code out of a checkpoint
        }

    def _run_subcommand(self, subcommand: str) -> None:
        owner = subcommand == "fit" and self.trainer.global_rank == 0
        try:
            with hold_folder(self.config_init["fit"]["out"]) if owner else nullcontext():
                super()._run_subcommand(subcommand)
        except SIGTERMException as error:
            step = self.trainer.global_step
            sys.stderr.write(f"vo3d: ended by SIGTERM after step {step}; {RESUME}\n")
            raise SystemExit(128 + signal.SIGTERM) from error
        except FAULTS as error:
            line = one_line(error)
            if RESTORE & {frame.name for frame in extract_tb(error.__traceback__)}:
                raise Vo3dError(
                    f"{self.checkpoint}: its state does not fit this run ({line}): resume with the settings that it "
                    f"was made with, or start anew with --model.init_weights {quote(str(self.checkpoint))}"
                ) from error
            told = f"{error!r} {error.__cause__!r}"  # a worker's death may meet Lightning in the midst of a log
            cause = next((words for words, pattern in ENDS.items() if re.search(pattern, told)), None)
            if cause is None or isinstance(error, Vo3dError):
                raise
            raise Vo3dError(f"{cause} after step {self.trainer.global_step} ({line[:120]}): {RESUME}") from error

    def before_fit(self) -> None:
        """Refuse to mix two runs in one folder; say which optimiser steps where none was chosen."""
        folder = self.config_init["fit"]["out"]
        if self.config["fit"].model.optimizer is None and self.trainer.global_rank == 0:
            sys.stdout.write("no model.optimizer: vo3d.optim.Adam as it is; choose an optimiser: -c optim_adam.yaml\n")
        if self.checkpoint is not None or self.trainer.global_rank > 0:
            return
        kept = visible_paths(folder / CHECKPOINTS, "*.ckpt")
        if kept and not self.config_init["fit"]["overwrite"]:
            raise Vo3dError(
                f"{folder} holds a run already ({kept[0].name}): choose another --out, continue it with "
                "--ckpt_path last, or throw it away with --overwrite true"
            )
        for path in (*kept, *folder.glob("events.out.tfevents.*")):  # a run that ended before a checkpoint has curves
            path.unlink()

    @rank_zero_only
    def after_fit(self) -> None:
        """Say where everything is."""
        stops = [stop.reason() for stop in self.trainer.callbacks if isinstance(stop, EarlyStop)]  # type: ignore[attr-defined]
        sys.stdout.writelines(f"{reason}\n" for reason in stops if reason)
        folder = self.config_init["fit"]["out"]
        kept = visible_paths(folder / CHECKPOINTS, "*.ckpt")
        self.model.finish(kept)
        device = self.trainer.strategy.root_device
        sys.stdout.writelines(f"{line}\n" for line in calibrate(self.model.net, kept, self.datamodule, device=device))
        names = [path.name for path in kept]
        last = "" if "best.ckpt" in names else " --weights last"  # a run that ended before its first validation
        if not isinstance(self.trainer.profiler, PassThroughProfiler):  # type: ignore[attr-defined]
            sys.stdout.writelines(f"{path}: the times of the parts\n" for path in sorted(folder.glob("*profile*.txt")))
        config = self.config[self.verb].as_dict()
        own = strangers([config["model"]["net"], *(config["data"][split] for split in SPLITS)])
        allow = f" --allow {' '.join(map(allowed_by, own))}" if own else ""
        score = f"vo3d evaluate {quote(str(folder))}{last}{allow}"
        sys.stdout.write(f"{folder / CHECKPOINTS}: {', '.join(names)}; score it with: {score}\n")


def read_whole_numbers_first() -> None:
    """Let options of Trainer that are a count or a share take `1` as the count one, not as the share of all.

    The parser tries the types of a union in their order. Lightning has `int | float`; but typing keeps one object for
    equal unions, and where another library (rich) has made `float | int | None` before, Lightning gets that.
    """
    hints = inspect.unwrap(Trainer.__init__).__annotations__
    for name, hint in hints.items():
        kinds = get_args(hint)
        if {int, float} <= set(kinds):
            hints[name] = reduce(or_, dict.fromkeys([int, *kinds]))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read the content of a checkpoint of `vo3d fit`, on the CPU; no code in it is run.

    Raises Vo3dError when the file is no checkpoint, is cut short, would run code, or holds weights that are not finite.
    """
    stored = read_content(path)
    if not isinstance(stored, dict) or not isinstance(stored.get("state_dict"), dict):
        raise Vo3dError(f"{path}: not a checkpoint of `vo3d fit`; other weights enter through --model.init_weights")
    tensors = state_dict_of(stored, path)
    try:
        check_finite(tensors)
    except Vo3dError as error:
        raise Vo3dError(f"{path}: {error}") from error
    return stored


def check_resumable(stored: dict[str, Any], path: Path) -> None:
    """Raise Vo3dError unless a checkpoint holds the whole state of a run, of a moment between two of its batches."""
    kinds = {"optimizer_states": list, "lr_schedulers": list, "callbacks": dict, "loops": dict, "global_step": int}
    absent = [name for name, kind in kinds.items() if not isinstance(stored.get(name), kind)]
    if absent or not stored["optimizer_states"]:
        reason = f"holds no state of a run ({', '.join(absent) or 'optimizer_states'} absent or of another kind)"
    else:
        watched = any({"best", "previous"} & {*one} for one in stored["lr_schedulers"] if isinstance(one, dict))
        if is_resumable(stored["loops"], watched=watched):
            return
        reason = (
            "was made in the midst of a step, by another callback or an earlier version, and cannot be resumed exactly"
        )
    raise Vo3dError(
        f"{path} {reason}: resume from last.ckpt, or start anew with --model.init_weights {quote(str(path))}"
    )


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {
        key: value
        for name, branch in tree.items()
        for key, value in _flat(branch, f"{prefix}.{name}".strip(".")).items()
    }


def _placed(complaint: str, args: list[str]) -> str:
    """Put before a complaint about an option the place in the configuration files where that option stands."""
    named = re.match(r"([\w.]+): ", complaint), re.search(r"ption '([\w.]+)'", complaint)
    key = [part for found in named if found for part in found[1].split(".")]
    spelled = any(word.partition("=")[0] == f"--{'.'.join(key)}" for word in args)  # the files said something else
    for word, name in pairwise(args):
        if key and not spelled and word in {"-c", "--config"} and (line := line_of_key(Path(name), key)) is not None:
            return f"{name}:{line}: {complaint}"
    return f"{complaint}; vo3d {args[0]} --help tells more"


def without_allowed(args: list[str]) -> tuple[list[str], list[str]]:
    """Take `--allow MODULE` out of the words of the command line: the others, and the modules.

    It is no setting: a file cannot give it, and no file keeps it.
    """
    words, allowed = [], []
    rest = iter(args)
    for word in rest:
        option, sign, value = word.partition("=")
        if option == "--allow":
            allowed.append(value if sign else next(rest, ""))
        else:
            words.append(word)
    return words, allowed


def config_files(args: list[str]) -> list[str]:
    """Find the files that follow -c and --config."""
    spaced = [value for option, value in pairwise(args) if option in {"-c", "--config"}]
    return spaced + [word.removeprefix("--config=") for word in args if word.startswith("--config=")]


def run(args: list[str]) -> None:
    """Run `fit`, `validate` or `test` with the words of the command line.

    Raises Vo3dError for a mistake in them or in the files that they name.
    """
    args, allowed = without_allowed(args)
    files = {value: read_settings(Path(value)) for value in config_files(args)}
    for name, content in files.items():  # jsonargparse would leave the file out of its message
        check_shape(content, name)
    typed = [word.partition("=")[2] or word for word in args if word not in files]
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings(), allowing(allowed, typed, given=files), guarded(files.values()):
        for part in typed:  # a file for a part of the settings, which jsonargparse would read
            if Path(part).suffix in {".yaml", ".yml", ".json"} and Path(part).is_file():
                refuse_strangers(parse_yaml(read_text(Path(part)), part), part)
        for category, message in UPSTREAM_WARNINGS:
            warnings.filterwarnings("ignore", message, category)
        try:
            TrainingCLI(args)
        except SystemExit as ended:  # Lightning ends the process with status 1 after it has put its tools away
            if isinstance(ended.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from ended
            raise
        except MisconfigurationException as error:  # such as a name in `monitor` that nobody logs
            raise Vo3dError(f"the trainer refuses its settings: {error}") from error
        except ArgumentError as error:
            raise Vo3dError(_placed(one_line(error), args)) from error
