"""A plan as those who decide on it want to read it: what is dangerous first, then what serves and what it costs."""
