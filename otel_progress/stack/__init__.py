"""The real servers on this machine without containers: building them, and running them.

Nothing here is imported by the recording of a workflow.
"""
