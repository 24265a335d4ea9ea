"""The AdaPool family: pooling that keeps detail, and its inverse."""
