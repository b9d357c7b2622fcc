"""What is recorded: the recorder, the live runs and visits, and the contract of sinks.

It knows no way in, no SDK and no backend: ways in call it, and it calls sinks by their contract alone.
"""
