"""Scripts that print what a part of the product takes, beside what it is measured against."""
