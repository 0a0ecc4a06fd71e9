"""Watching the model: captured data in, a table, a report and a verdict on drift out."""
