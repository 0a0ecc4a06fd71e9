"""Tests. They mirror the code; `end_to_end` drives the embedded AWS."""
