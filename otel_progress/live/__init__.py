"""Telling of progress while it goes on: threads beside a program, and where they print.

What is told is decided in `runs`, how it reads in `report`. Here is only when it is told and whereto, so that the
program never waits for it.
"""
