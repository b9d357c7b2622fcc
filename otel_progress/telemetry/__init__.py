"""The OpenTelemetry SDK of this process: `configure`, exporters, exit and fork, signals.

Beside it only records and the command line import the SDK. Nothing here knows how a stage is recorded.
"""
