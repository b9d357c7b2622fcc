"""The command line: a file for each command.

Nothing that a program could want without the command belongs here.
"""
