"""Relocalisation in reports: positions, errors over time and over thresholds, best and worst frames, deviations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn.functional import interpolate

from vo3d.errors import Vo3dError
from vo3d.formats.relocalisation import Relocalised
from vo3d.metrics.relocalisation import QUANTITIES, ause, pose_errors, rank_correlation
from vo3d.recording import MultiViewScene, Recording
from vo3d.report.canvas import INK, WIDTH, Styles, line_styles, new_figure, save_figure, spelled
from vo3d.report.depth import FONT, entitle
from vo3d.report.html import Picture, Section, Text
from vo3d.report.pose_errors import ErrorsOverTime, plot_deviations, plot_errors_over_time, plot_share_within
from vo3d.report.positions import MOST_MODELS, MOST_POINTS, Positions, map_axes, plot_positions

Found = Mapping[str, Mapping[str, Relocalised]]  # by the model's name, by the recording's
MOST_RECORDINGS = 6  # that have panels of their own
LEAST_FRAMES = 10  # that deviations are judged by
SHOWN = 5  # frames of the best and of the worst
APART = 20  # two of them are at least this part of the recording apart: neighbours look alike
THUMBNAIL = 320  # columns


@dataclass(frozen=True)
class View:
    """A frame that is shown: how far off its pose is, its picture, and that of the nearest training view."""

    title: str
    error: tuple[float, float]  # metres, degrees
    image: Float[Tensor, "3 _ _"]
    nearest_title: str = ""
    nearest: Float[Tensor, "3 _ _"] | None = None
    distance: tuple[float, float] | None = None  # metres, degrees


def relocalisation_sections(
    found: Found, recordings: Mapping[str, Sequence[Recording]], training: Sequence[Recording], figures: Path
) -> Iterator[Section]:
    """Show where cameras were and where models took them to be, how far off these are, and when.

    Args:
        found: The frames of each recording by its name, of each model by its name; the first model's frames are shown.
        recordings: Those that each model saw, by its name.
        training: Those that it learnt from, or none.
        figures: The folder of the pictures.

    Raises:
        Vo3dError: a recording has no such frames now.
    """
    found = {
        model: there
        for model, of in found.items()
        if (there := {name: one for name, one in of.items() if len(one.frames)})
    }
    if not found:
        yield Section("Positions", [Text("No relocalised frame was given to this report.", "note")])
        return
    styles = line_styles(list(found))
    yield Section("Positions", [_positions(found, training, figures)])
    unordered = {one.name for of in recordings.values() for one in of if isinstance(one, MultiViewScene)}
    yield Section("Errors", [_over_time(found, unordered, styles, figures), _within(found, styles, figures)])
    model, of = next(iter(found.items()))
    yield Section("Best and worst frames", [*_frames(model, of, recordings.get(model, ()), training, figures)])
    deviates = {
        model: known
        for model, of in found.items()
        if (known := [one for one in of.values() if one.deviation is not None])
    }
    if deviates:
        yield Section("Predicted deviations", [_deviations(deviates, styles, figures)])


def _errors(one: Relocalised) -> Float64[Tensor, "n 2"]:
    return pose_errors(one.truth, one.estimate)


def _positions(found: Found, training: Sequence[Recording], figures: Path) -> Picture:
    """Draw the positions of all recordings, which lie in one world."""
    learnt = [poses for one in training if (poses := one.poses()) is not None]
    views = torch.cat([torch.zeros(0, 4, 4, dtype=torch.float64), *learnt])
    truth = torch.cat([one.truth for of in found.values() for one in of.values()])
    axes = map_axes(torch.cat([views, truth]))
    models = {
        model: Positions(
            torch.cat([one.truth[:, :3, 3] for one in of.values()]),
            torch.cat([one.estimate[:, :3, 3] for one in of.values()]),
        )
        for model, of in found.items()
    }
    most = max(len(views), *(len(one.truth) for one in models.values()))
    caption = (
        f"Where the cameras stood, in metres: in space, and from above ({axes}, along which they are spread most). "
        f"{f'Green squares: the {len(views)} training views. ' if len(views) else 'No training views were given. '}"
        "Blue dots: true positions. Red crosses: predicted positions, each with a thin line to its true one."
        f"{f' Of each kind at most {MOST_POINTS} are drawn, evenly spaced.' if most > MOST_POINTS else ''}"
        f"{f' Drawn are the first {MOST_MODELS} of {len(models)} models.' if len(models) > MOST_MODELS else ''}"
    )
    path = save_figure(plot_positions(models, views[:, :3, 3], axes), figures / "positions.png")
    return Picture(path, caption, caption)


def _over_time(found: Found, unordered: set[str], styles: Styles, figures: Path) -> Picture:
    """Draw the errors of each of the first recordings."""
    names = list(dict.fromkeys(name for of in found.values() for name in of))
    shown = {
        name: {
            model: ErrorsOverTime(one.frames, _errors(one), one.deviation, one.nearest_distance)
            for model, of in found.items()
            if (one := of.get(name)) is not None
        }
        for name in names[:MOST_RECORDINGS]
    }
    drawn = [one for of in shown.values() for one in of.values()]
    caption = (
        "Distance between predicted and true position, and angle between predicted and true rotation, of each frame; "
        "of many frames running medians. Axes end a little above what 95 % of the frames reach."
    )
    if unordered & set(shown):
        caption += " Views in no order are points."
    if any(one.nearest is not None for one in drawn):
        caption += (
            " The thin grey line is the distance from the true pose to the nearest training view, that of the least "
            "metres + radians."
        )
    if any(one.deviation is not None for one in drawn):
        caption += " A band reaches up to the deviation that its model predicts of the position or the rotation."
    if len(names) > len(shown):
        caption += f" Drawn are the first {len(shown)} of {len(names)} recordings."
    figure = plot_errors_over_time(shown, styles, sorted(unordered))
    return Picture(save_figure(figure, figures / "errors_over_time.png"), caption, caption)


def _within(found: Found, styles: Styles, figures: Path) -> Picture:
    """Draw the shares of frames within thresholds, over all recordings of each model."""
    pooled = {model: torch.cat([_errors(one) for one in of.values()]) for model, of in found.items()}
    medians = {model: _pair(errors.quantile(0.5, dim=0).tolist()) for model, errors in pooled.items()}
    caption = (
        "Share of all frames whose position is off by at most so many metres, and whose rotation by at most so many "
        "degrees: the further up and to the left, the better. A curve crosses 50 % at the median: "
        f"{'; '.join(f'{model} {median}' for model, median in medians.items())}."
    )
    return Picture(save_figure(plot_share_within(pooled, styles), figures / "within.png"), caption, caption)


def _deviations(deviates: Mapping[str, Sequence[Relocalised]], styles: Styles, figures: Path) -> Picture | Text:
    """Draw what deviations are worth, of the models that predict them of enough frames; a note where none does."""
    pooled = {}
    for model, known in deviates.items():
        deviation = torch.cat([one.deviation for one in known if one.deviation is not None])
        if len(deviation) >= LEAST_FRAMES:
            pooled[model] = (torch.cat([_errors(one) for one in known]), deviation)
    if not pooled:
        return Text(f"Deviations are compared with errors where there are {LEAST_FRAMES} frames or more.", "note")
    caption = (
        "Above, predicted deviation and observed error: faint dots are frames, points on lines root mean squares over "
        "frames of similar deviations: a model lies on the grey line where it tells rightly how far off it is, above "
        "it where it is too sure. Below, the "
        "mean error of the frames that are left when those of the highest deviations are left out, and (thin, the "
        "oracle) when those of the highest errors are; by deviations that tell nothing it would stay as it is."
    )
    for words, measure in (
        ("Rank correlation (Spearman) of deviation and error, 1 at best and 0 for chance", rank_correlation),
        ("The area between the two curves below, 0 for the oracle and 1 for chance", ause),
    ):
        values = []
        for model, (errors, deviation) in pooled.items():
            of = {name: measure(errors[:, at], deviation[:, at]) for at, name in enumerate(QUANTITIES)}
            told = [f"{name} {value:.2f}" for name, value in of.items() if value is not None]
            values += [f"{model} {', '.join(told)}"] if told else []
        caption += f" {words}: {'; '.join(values)}." if values else ""
    caption += f" {_shares_within_one(pooled)}"
    return Picture(save_figure(plot_deviations(pooled, styles), figures / "deviations.png"), caption, caption)


def _shares_within_one(pooled: Mapping[str, tuple[Tensor, Tensor]]) -> str:
    """Write which percentage of the errors of each model are at most what it predicts of them."""
    found = []
    for model, (errors, deviation) in pooled.items():
        shares = (100 * (errors <= deviation).double().mean(0)).tolist()
        found.append(f"{model} {' and '.join(f'{share:.0f} %' for share in shares)}")
    return f"Errors of position and rotation within one deviation (68 % where it is calibrated): {'; '.join(found)}."


def _pair(values: Sequence[float]) -> str:
    """Write metres and degrees with the digits that count."""
    metres, degrees = values
    return f"{metres:.{3 if metres < 0.1 else 2}f} m, {degrees:.1f}\N{DEGREE SIGN}"


def _frames(
    model: str,
    of: Mapping[str, Relocalised],
    recordings: Sequence[Recording],
    training: Sequence[Recording],
    figures: Path,
) -> Iterator[Picture | Text]:
    """Show the best and the worst frames of a model; a note where none of their recordings was given."""
    there = {one.name: one for one in recordings}
    rows = [(name, row) for name, one in of.items() if name in there for row in range(len(one.frames))]
    if not rows:
        yield Text(f"No frames of {model} are shown: none of its recordings was given to this report.", "note")
        return
    errors = torch.cat([_errors(one) for name, one in of.items() if name in there])
    order = (errors[:, 0] + errors[:, 1].deg2rad()).argsort(stable=True).tolist()
    best = _apart([rows[at] for at in order], of, ())
    worst = _apart([rows[at] for at in reversed(order)], of, best)
    for what, chosen in (("best", best), ("worst", worst)):
        if not chosen:
            continue
        views = [_view(of[name], row, there[name], training, several=len(of) > 1) for name, row in chosen]
        beside = (
            ""
            if all(view.nearest is None for view in views)
            else (", each above the nearest training image and the distance between the two true poses")
        )
        number = f"{len(views)} {what} frames" if len(views) > 1 else f"{what} frame"
        caption = (
            f"{model}: the {number} by metres + radians, with how far off the predicted pose is{beside}."
            f"{f' Frames of one recording are at least 1/{APART} of it apart.' if len(views) > 1 else ''}"
        )
        yield Picture(save_figure(plot_views(views), figures / f"frames_{what}.png"), caption, caption)


def _apart(
    ranked: Sequence[tuple[str, int]], of: Mapping[str, Relocalised], taken: Sequence[tuple[str, int]]
) -> list[tuple[str, int]]:
    """Choose the first frames that are far enough from those before them in their recording, and not taken."""
    chosen: list[tuple[str, int]] = []
    for name, row in ranked:
        gap = len(of[name].frames) / APART
        near = any(name == other and abs(row - at) < gap for other, at in chosen)
        if not near and (name, row) not in taken:
            chosen.append((name, row))
        if len(chosen) == SHOWN:
            break
    return chosen


def _view(one: Relocalised, row: int, recording: Recording, training: Sequence[Recording], *, several: bool) -> View:
    """Read the image of a frame and that of its nearest training view, where one is known and given."""
    places = {frame: place for place, frame in enumerate(recording.frames)}
    frame = int(one.frames[row])
    if frame not in places:
        raise Vo3dError(f"{recording.name} has no frame {frame} now: evaluate the model again")
    stem = Path(one.names[row]).name
    metres, degrees = _errors(one)[row].tolist()
    title = f"{recording.name}, {stem}" if several else stem
    image = thumbnail(recording, places[frame])
    if one.nearest is None or one.nearest_distance is None:
        return View(title, (metres, degrees), image)
    name, index = one.nearest[row]
    near = next((each for each in training if each.name == name and 0 <= index < len(each)), None)
    if near is None:
        return View(title, (metres, degrees), image)
    far, turned = one.nearest_distance[row].tolist()
    words = f"{name}, {Path(near.names[index]).name}"
    return View(title, (metres, degrees), image, words, thumbnail(near, index), (far, turned))


def thumbnail(recording: Recording, index: int) -> Float[Tensor, "3 _ _"]:
    """Read an image in at most 320 columns."""
    image = recording.clip([index]).image[0].float()
    h, w = image.shape[-2:]
    if w <= THUMBNAIL:
        return image
    size = (max(1, round(h * THUMBNAIL / w)), THUMBNAIL)
    return interpolate(image[None], size=size, mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)


def plot_views(views: Sequence[View]) -> "matplotlib.figure.Figure":
    """Draw frames side by side with their errors under them, each above its nearest training view and its distance."""
    rows = 2 if any(view.nearest is not None for view in views) else 1
    width = WIDTH / SHOWN - 0.1
    pictures = [[view.image for view in views], [view.nearest for view in views if view.nearest is not None]][:rows]
    heights = [max(min(width * one.shape[-2] / one.shape[-1], 1.6 * width) for one in row) for row in pictures]
    figure = new_figure(sum(heights) + 0.5 * rows)
    grid = figure.subplots(rows, SHOWN, squeeze=False, height_ratios=heights)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[], anchor="N")
        axes.spines[:].set_visible(False)
    for column, view in zip(grid.T, views, strict=False):
        _draw_view(column[0], view.image, view.title, f"off by {_pair(view.error)}")
        if view.nearest is not None and view.distance is not None:
            _draw_view(column[1], view.nearest, f"nearest: {view.nearest_title}", f"{_pair(view.distance)} away")
    return figure


def _draw_view(axes: "matplotlib.axes.Axes", image: Float[Tensor, "3 _ _"], title: str, below: str) -> None:
    axes.imshow(image.permute(1, 2, 0).clamp(0, 1).numpy())
    entitle(axes, spelled(title), 0.88)
    axes.set_xlabel(below, fontsize=FONT, color=INK, loc="left")
