"""The classes of what is seen: the numbers of Cityscapes' 19 training classes (Cordts et al., CVPR 2016)."""

from vo3d.sample import UNKNOWN_LABEL

ROAD, SIDEWALK, BUILDING, POLE, VEGETATION, TERRAIN, SKY, PERSON, CAR, TRUCK = 0, 1, 2, 5, 8, 9, 10, 11, 13, 14
UNKNOWN = UNKNOWN_LABEL
