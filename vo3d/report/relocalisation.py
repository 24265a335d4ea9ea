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
from vo3d.metrics.relocalisation import QUANTITIES, ause, pose_errors
from vo3d.recording import MultiViewScene, Recording
from vo3d.report.canvas import INK, WIDTH, line_styles, new_figure, save_figure, spelled
from vo3d.report.depth import FONT, entitle
from vo3d.report.html import Picture, Section, Text
from vo3d.report.pose_errors import ErrorsOverTime, plot_deviations, plot_errors_over_time, plot_share_within
from vo3d.report.positions import MOST_MODELS, MOST_POINTS, Positions, map_axes, plot_positions

Found = Mapping[str, Mapping[str, Relocalised]]  # by the model's name, by the recording's
MOST_RECORDINGS = 6  # that have panels of their own
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
    pooled = {model: torch.cat([_errors(one) for one in of.values()]) for model, of in found.items()}
    yield Section("Positions", [_positions(found, training, figures)])
    names = list(dict.fromkeys(name for of in found.values() for name in of))
    unordered = {one.name for of in recordings.values() for one in of if isinstance(one, MultiViewScene)}
    over_time = {
        name: {
            model: ErrorsOverTime(one.frames, _errors(one), one.deviation, one.nearest_distance)
            for model, of in found.items()
            if (one := of.get(name)) is not None
        }
        for name in names[:MOST_RECORDINGS]
    }
    caption = _over_time_caption(over_time, unordered, len(names))
    figure = plot_errors_over_time(over_time, styles, sorted(unordered))
    picture = Picture(save_figure(figure, figures / "errors_over_time.png"), caption, caption)
    caption = (
        "Share of all frames whose position is off by at most so many metres, and whose rotation by at most so many "
        "degrees: the further up and to the left, the better; a curve crosses 50 % at the model's median. "
        f"{_medians(pooled)}"
    )
    figure = plot_share_within(pooled, styles)
    yield Section("Errors", [picture, Picture(save_figure(figure, figures / "within.png"), caption, caption)])
    model, of = next(iter(found.items()))
    yield Section("Best and worst frames", [*_frames(model, of, recordings.get(model, ()), training, figures)])
    foretold = {
        model: (
            torch.cat([_errors(one) for one in known]),
            torch.cat([one.deviation for one in known if one.deviation is not None]),
        )
        for model, of in found.items()
        if (known := [one for one in of.values() if one.deviation is not None])
    }
    if foretold:
        caption = (
            "Above, predicted deviation and observed error, root mean squares over frames with similar deviations: a "
            "model lies on the grey line where it tells right how far off it is, above it where it is too sure. Below, "
            "the mean error of the frames that are left when those with the highest deviations are left out, and "
            "(thin, the oracle) when those with the highest errors are: a deviation that tells nothing leaves the mean "
            f"as it is. {_areas(foretold)}"
        )
        path = save_figure(plot_deviations(foretold, styles), figures / "deviations.png")
        yield Section("Predicted deviations", [Picture(path, caption, caption)])


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


def _over_time_caption(recordings: Mapping[str, Mapping[str, ErrorsOverTime]], unordered: set[str], count: int) -> str:
    """Tell what is drawn of each recording."""
    models = [one for of in recordings.values() for one in of.values()]
    points = " Views in no order are points." if unordered & set(recordings) else ""
    near = (
        " The thin grey line is the distance from the true pose to the nearest training view (least metres + radians)."
    )
    band = " The band reaches up to the deviation that a model predicts, of the position or the rotation as a whole."
    first = f" Drawn are the first {len(recordings)} of {count} recordings."
    return (
        "Distance between predicted and true position, and angle between predicted and true rotation, of each frame; "
        "of many frames running medians. Axes end a little above what 95 % of each model's frames reach."
        f"{points}{near if any(one.nearest is not None for one in models) else ''}"
        f"{band if any(one.deviation is not None for one in models) else ''}{first if count > len(recordings) else ''}"
    )


def _medians(pooled: Mapping[str, Float64[Tensor, "_ 2"]]) -> str:
    """Tell the median errors of each model."""
    medians = {model: errors.quantile(0.5, dim=0).tolist() for model, errors in pooled.items()}
    return f"Medians: {'; '.join(f'{model} {_pair(median)}' for model, median in medians.items())}."


def _areas(models: Mapping[str, tuple[Float64[Tensor, "_ 2"], Float64[Tensor, "_ 2"]]]) -> str:
    """Tell of each model the area between the curves, where it is defined."""
    told = []
    for model, (errors, deviation) in models.items():
        areas = {name: ause(errors[:, at], deviation[:, at]) for at, name in enumerate(QUANTITIES)}
        words = [f"{name} {area:.2f}" for name, area in areas.items() if area is not None]
        told += [f"{model} {', '.join(words)}"] if words else []
    return f"The area between the two (0 is the oracle, 1 is chance): {'; '.join(told)}." if told else ""


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
            f"{model}: the {number} by metres + radians, with how far off the predicted pose is{beside}. "
            f"Frames of one recording are at least 1/{APART} of it apart."
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
