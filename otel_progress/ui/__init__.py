"""The server of `otel-progress ui`: the pages of all recorded runs, and what changes in them while they run.

It reads and never writes: every answer is made from the records, by the readers and the figures that the other commands
use. How a page looks is the business of `pages`. What it needs is in the extra `ui`, and nothing else may import it.
"""
