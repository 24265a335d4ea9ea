"""The scans of DTU's splits, number by number, as MVSNet's authors have them in their program (`preprocess.py`)."""

from itertools import combinations

import pytest

from vo3d.datasets.dtu import SPLITS
from vo3d.metrics.dtu_table import DTU_TEST_SCANS

TRAINING = """
    2 6 7 8 14 16 18 19 20 22 30 31 36 39 41 42 44 45 46 47 50 51 52 53 55 57 58 60 61 63 64 65 68 69 70 71 72 74 76 83
    84 85 87 88 89 90 91 92 93 94 95 96 97 98 99 100 101 102 103 104 105 107 108 109 111 112 113 115 116 119 120 121 122
    123 124 125 126 127 128
"""
VALIDATION = "3 5 17 21 28 35 37 38 40 43 56 59 66 67 82 86 106 117"
EVALUATION = "1 4 9 10 11 12 13 15 23 24 29 32 33 34 48 49 62 75 77 110 114 118"


@pytest.mark.parametrize(("split", "scans"), [("train", TRAINING), ("val", VALIDATION), ("test", EVALUATION)])
def test_a_split_has_the_published_scans(split: str, scans: str) -> None:
    assert list(SPLITS[split]) == [int(number) for number in scans.split()]  # type: ignore[index]


def test_the_table_of_the_benchmark_is_over_the_scans_of_the_test_split() -> None:
    assert list(DTU_TEST_SCANS) == [int(number) for number in EVALUATION.split()]
    assert DTU_TEST_SCANS == SPLITS["test"]


def test_no_scan_is_in_two_splits() -> None:
    assert len(SPLITS) == 3
    for one, other in combinations(SPLITS.values(), 2):
        assert not set(one) & set(other)
