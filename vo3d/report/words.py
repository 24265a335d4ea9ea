"""Sizes and times as people say them."""

from collections.abc import Sequence


def size_in_words(count: int) -> str:
    """Write bytes, such as 1.3 GB, 120 MB or 4 kB, with two digits that count."""
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count / size:.0f} {unit}"
    return f"{count / 1e3:.0f} kB"


def duration_in_words(seconds: float) -> str:
    """Write seconds, such as 1.3 s, 45 s, 2 min 30 s, 12 min or 3 h 20 min."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def span_in_words(values: Sequence[int]) -> str:
    """Write the least and the greatest of some numbers, such as 3 to 10; one number where they are equal."""
    least, most = min(values), max(values)
    return str(least) if least == most else f"{least} to {most}"
