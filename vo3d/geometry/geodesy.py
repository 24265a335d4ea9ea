"""Places on Earth by degrees, as metres that need no map projection."""

import torch
from jaxtyping import Float64
from torch import Tensor

EQUATOR = 6378137.0  # metres, semi-axis of WGS 84
FLATTENING = 1 / 298.257223563


def earth_centred(degrees: Float64[Tensor, "*b 2"]) -> Float64[Tensor, "*b 3"]:
    """Return the places at latitudes and longitudes, in metres from the centre of the Earth, on the ellipsoid WGS 84.

    Straight distances between them are metres anywhere, across zones and the date line; they are shorter than the way
    along the ground by a millimetre in 10 km.

    Convention: x to latitude 0 and longitude 0, z to the north pole; height 0.
    Source: National Imagery and Mapping Agency, TR8350.2, "World Geodetic System 1984", section 4.3.
    """
    latitude, longitude = torch.deg2rad(degrees).unbind(-1)
    squared = FLATTENING * (2 - FLATTENING)  # eccentricity
    normal = EQUATOR / (1 - squared * latitude.sin() ** 2).sqrt()  # radius of curvature across the meridian
    level = normal * latitude.cos()
    return torch.stack(
        [level * longitude.cos(), level * longitude.sin(), (1 - squared) * normal * latitude.sin()], dim=-1
    )
