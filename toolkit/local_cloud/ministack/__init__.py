"""MiniStack with its gaps mended, a file for each service or feature; `server` starts it."""
