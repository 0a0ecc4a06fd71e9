"""How good a model is, and whether it still is: measures, captured data, drift, reports, candidates.

The same code runs in `toolkit`, on a person's machine, and in functions in the cloud. Hence it needs nothing but the
standard library, Pillow and an S3 client that it is given, and imports nothing else of the project.
"""
