"""What people read in a terminal: totals of runs, and their table.

It only renders; what is recorded is decided in `recording`.
"""
