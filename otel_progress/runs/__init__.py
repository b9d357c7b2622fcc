"""Run files: what is kept on disk of a run.

No table and no command: those are in `report` and `cli`.
"""
