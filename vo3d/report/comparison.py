"""A table of pictures: what several operators made of one image, with a line of numbers under each."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.report.canvas import INK, PAD, SOFT, WIDTH, new_figure

GAP = 0.06  # inches between pictures
LINE = 0.145  # inches that a line of small text takes
BOX = "#E69F00"  # of Okabe and Ito's colours, drawn over a dark border: seen on bright and dark ground
MOST_ABOVE = 1.9  # inches of height of the picture above the table


@dataclass(frozen=True)
class PictureRow:
    """One picture for each column, drawn equally wide; `title` stands above the row, `notes` under the pictures."""

    pictures: Sequence[Float[Tensor, "3 _ _"]]
    title: str = ""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Box:
    """A rectangle of an image, in pixels: its top-left pixel and its size."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, image: Float[Tensor, "c h w"], factor: int = 1) -> Float[Tensor, "c _ _"]:
        """Cut this part out of an image that was reduced `factor` times; the box must lie on a multiple of `factor`."""
        y, x = self.y // factor, self.x // factor
        return image[:, y : y + self.height // factor, x : x + self.width // factor]


def plot_picture_table(
    columns: Sequence[str],
    rows: Sequence[PictureRow],
    whole: Float[Tensor, "3 h w"] | None = None,
    box: Box | None = None,
) -> "matplotlib.figure.Figure":
    """Draw pictures (RGB in [0, 1]) in rows under the titles of `columns`; magnified pixels are drawn as squares.

    `whole` stands above the table, with `box`, what crops show of it, marked. Pictures of a row may have unequal sizes
    in pixels, as an image and its reductions do; all are drawn equally wide.
    Raises Vo3dError when there is no row or a row has not one picture, and one note or none, for each column.
    """
    if not rows or not columns:
        raise Vo3dError("a table without pictures was asked for: expected at least one row and one column")
    for row in rows:
        if len(row.pictures) != len(columns) or len(row.notes) not in {0, len(columns)}:
            raise Vo3dError(
                f"row {row.title!r} has {len(row.pictures)} pictures and {len(row.notes)} notes: expected "
                f"{len(columns)} pictures, one for each column, and as many notes or none"
            )
    width = (WIDTH - 2 * PAD - GAP * (len(columns) - 1)) / len(columns)
    heights = [width * max(picture.shape[-2] / picture.shape[-1] for picture in row.pictures) for row in rows]
    notes = [LINE * max((note.count("\n") + 1.5 for note in row.notes), default=0.0) for row in rows]
    titles = [1.7 * LINE if row.title else 0.0 for row in rows]
    head = LINE * (max(title.count("\n") for title in columns) + 1.6)
    above = 0.0 if whole is None else min((WIDTH - 2 * PAD) * whole.shape[-2] / whole.shape[-1], MOST_ABOVE)
    height = 2 * PAD + head + above + sum(heights) + sum(notes) + sum(titles) + GAP * (len(rows) + 1)

    figure = new_figure(height)
    figure.set_layout_engine("none")  # every place is known: the layout is arithmetic
    top = PAD

    def draw(picture: Tensor, left: float, wide: float, high: float) -> "matplotlib.axes.Axes":
        axes = figure.add_axes((left / WIDTH, 1 - (top + high) / height, wide / WIDTH, high / height))
        axes.imshow(picture.permute(1, 2, 0).clamp(0, 1).numpy())
        axes.set_axis_off()
        return axes

    if whole is not None:
        axes = draw(whole, PAD, above * whole.shape[-1] / whole.shape[-2], above)
        if box is not None:
            for colour, line in ((INK, 3.5), (BOX, 1.8)):
                axes.plot(
                    [box.x - 0.5, box.x + box.width - 0.5, box.x + box.width - 0.5, box.x - 0.5, box.x - 0.5],
                    [box.y - 0.5, box.y - 0.5, box.y + box.height - 0.5, box.y + box.height - 0.5, box.y - 0.5],
                    color=colour,
                    linewidth=line,
                )
        top += above + GAP
    lefts = [PAD + place * (width + GAP) for place in range(len(columns))]
    for left, title in zip(lefts, columns, strict=True):
        place = ((left + width / 2) / WIDTH, 1 - (top + head - 0.07) / height)
        figure.text(*place, title, fontsize=8.5, color=INK, ha="center", va="baseline", linespacing=1.05)
    top += head
    for row, high, room, over in zip(rows, heights, notes, titles, strict=True):
        if row.title:
            figure.text(PAD / WIDTH, 1 - (top + over - 0.06) / height, row.title, fontsize=9, color=INK, va="bottom")
            top += over
        for left, picture in zip(lefts, row.pictures, strict=True):
            draw(picture, left, width, high)
        top += high
        for left, note in zip(lefts, row.notes, strict=False):
            place = ((left + width / 2) / WIDTH, 1 - (top + 0.04) / height)
            figure.text(*place, note, fontsize=7.5, color=SOFT, ha="center", va="top", linespacing=1.1)
        top += room + GAP
    return figure
