"""What people read in a terminal: totals of runs as a table, runs as a list, one run as a tree.

It only renders; what is recorded is decided in `recording`.
"""
