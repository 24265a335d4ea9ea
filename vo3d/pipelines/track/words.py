"""Tell of a path in words: the sources of its scale and its camera, its gaps, what went wrong."""

from vo3d.pipelines.track.files import frame_rate, unit_of
from vo3d.pipelines.track.job import Job
from vo3d.pipelines.track.run import Found, Run
from vo3d.report.words import duration_in_words

DARK = 6.0  # grey levels of contrast, of 255, below which images show next to nothing
GUESSED = "guessed"  # so `Recording.camera` begins where nothing tells it
SHORT = 3  # frames of a gap that a cut leaves
FEW = 3  # gaps that are named in a line


def camera_in_words(job: Job, made: Run) -> str:
    """Say where K comes from, which frames as they come tell with the first one, and what it is."""
    told = job.frames.camera or "that of the source"
    if told.startswith(GUESSED):
        told = f"{told.partition(': give')[0]}: give --focal, --fov or --intrinsics if you know them"
    if made.K is None or made.found is None or "fx" in told:
        return told
    (fx, _, cx), (_, fy, cy), _ = made.K.tolist()
    h, w = made.found.size
    return f"{told}; fx {fx:.1f}, fy {fy:.1f}, cx {cx:.1f}, cy {cy:.1f} pixels of {w}x{h}"


def scale_in_words(job: Job) -> str:
    """Say where the lengths come from, and in which unit they are."""
    end = "lengths are in metres" if unit_of(job) == "m" else "lengths are in units, not metres"
    return f"{job.model.scale_source}; {end}"


def method_in_words(job: Job) -> str:
    """Name the class, its weights, and the device."""
    weights = f" ({job.net.name})" if job.net.path is not None else ""
    return f"{type(job.model).__name__}{weights}, on {job.device}"


def frames_in_words(found: Found) -> str:
    """Say how many frames there are, their size and rate."""
    rate = frame_rate(found)
    times = f" at {rate:.3g} frames a second" if rate is not None else ", without times"
    return f"{len(found)} of {found.size[1]}x{found.size[0]}{times}"


def gaps_in_words(found: Found) -> str:
    """Say which frames have no pose, by their numbers in the source."""
    if not found.says:
        return "none told: the method does not say which frames it could not tell"
    if not found.gaps:
        return f"none: all {len(found)} frames have a pose"
    numbers = found.numbers.tolist()
    spans = [f"{numbers[a]}" if a == b else f"{numbers[a]} to {numbers[b]}" for a, b in found.gaps]
    more = f" and {len(spans) - FEW} more gaps" if len(spans) > FEW else ""
    missing = int((~found.known).sum())
    have, frames = ("has", "frame") if missing == 1 else ("have", "frames")
    cut = " (a short one may be a cut in the film)" if any(b - a < SHORT for a, b in found.gaps) else ""
    return (
        f"{missing} of {len(found)} frames {have} no pose: {frames} {', '.join(spans[:FEW])}{more}; the path behind a "
        f"gap{cut} is joined on by a guess, as if the motion before it had gone on, with a relative scale in a unit of "
        "its own"
    )


def speed_in_words(made: Run, found: Found) -> str:
    """Say how fast it went."""
    model, both = (len(found) / max(spent, 1e-9) for spent in (made.seconds, made.total))
    return f"{both:.1f} frames a second ({model:.1f} without reading), {duration_in_words(made.total)} in all"


def why_nothing(made: Run, job: Job) -> str:
    """Say why no step could be told, by what the images show."""
    contrast = made.film.contrast()
    if contrast < DARK:
        return (
            f"no step could be told: the images show next to nothing (contrast {contrast:.1f} of 255 grey levels): a "
            "lens cap, the dark, or a plain wall: film something with texture"
        )
    return (
        f"no step could be told, and the images do show something (contrast {contrast:.0f} of 255 grey levels): frames "
        "may be too far apart, blurred, or of different places: take frames closer together (--every 1), or another "
        f"part (--start, --end), and look at the camera: {camera_in_words(job, made)}"
    )


def notes_of(found: Found) -> list[str]:
    """Say what stands for time where the source has none, and that a camera did not move."""
    notes = [] if found.time is not None else ["the source has no times: poses.tum has frame numbers in their place"]
    if found.length == 0:
        notes.append("no step is long enough to be told from a turn: the camera stood, or only turned")
    return notes
