"""Records: what is kept on disk of a program that ran, and by whom it can be read.

No table and no command: those are in `report` and `cli`.
"""
