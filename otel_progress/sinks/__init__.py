"""The sinks: what is done with a recording (spans, metrics, the mirror, events), each in a file of its own.

A sink keeps its own state and knows the recording's objects only; nothing here decides when a run or visit begins.
"""
