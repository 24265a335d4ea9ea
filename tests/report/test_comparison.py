"""The table of pictures: every picture in its place, nothing covers anything, wrong tables are refused."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from vo3d.errors import Vo3dError
from vo3d.report.comparison import Box, PictureRow, plot_picture_table

COLUMNS = ("original", "average", "a name of\ntwo lines")


def picture(height: int, width: int) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(height))


def rows() -> list[PictureRow]:
    sizes = ((48, 80), (24, 40), (12, 20))
    return [
        PictureRow([picture(*size) for size in sizes], title="reduced"),
        PictureRow([picture(16, 16)] * 3, notes=["", "29.31 dB\nSSIM 0.912", "8.10 dB\nSSIM 0.012"]),
    ]


def test_pictures_and_words_stand_inside_the_figure_and_do_not_meet() -> None:
    figure = plot_picture_table(COLUMNS, rows(), picture(48, 80), Box(8, 16, 16, 16))
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_window_extent(renderer) for axes in figure.axes]
    boxes += [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    assert len(boxes) == 7 + len(COLUMNS) + 1 + 2
    for box in boxes:
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert box.x1 <= figure.bbox.x1 + 0.5
        assert box.y1 <= figure.bbox.y1 + 0.5
    for first, second in combinations(boxes, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert width < 0.5 or height < 0.5, (first, second)


def test_pictures_keep_their_shape_and_their_pixels() -> None:
    table = rows()
    figure = plot_picture_table(COLUMNS, table)
    drawn = [axes.images[0] for axes in figure.axes]
    for image, expected in zip(drawn, [one for row in table for one in row.pictures], strict=True):
        assert torch.equal(torch.from_numpy(image.get_array().data), expected.permute(1, 2, 0))
        extent = image.axes.get_window_extent()
        assert extent.width / extent.height == pytest.approx(expected.shape[-1] / expected.shape[-2], rel=1e-6)


def test_the_box_is_marked_where_it_cuts() -> None:
    box = Box(8, 16, 24, 16)
    figure = plot_picture_table(COLUMNS, rows(), picture(48, 80), box)
    for line in figure.axes[0].lines:
        assert (min(line.get_xdata()), max(line.get_xdata())) == (7.5, 31.5)
        assert (min(line.get_ydata()), max(line.get_ydata())) == (15.5, 31.5)
    image = picture(48, 80)
    assert torch.equal(box.cut(image), image[:, 16:32, 8:32])
    assert torch.equal(box.cut(image[:, ::4, ::4], 4), image[:, 16:32:4, 8:32:4])


@pytest.mark.parametrize(
    "table", [[], [PictureRow([picture(4, 4)] * 2)], [PictureRow([picture(4, 4)] * 3, notes=["one"])]]
)
def test_a_table_with_holes_is_refused(table: list[PictureRow]) -> None:
    with pytest.raises(Vo3dError, match="expected"):
        plot_picture_table(COLUMNS, table)
