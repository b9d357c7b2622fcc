"""The ways in: decorators, blocks and node classes, which only translate calls of the workflow to the recorder.

Nothing here keeps a record or knows what becomes of one.
"""
