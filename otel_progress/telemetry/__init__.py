"""The OpenTelemetry SDK of this process: `configure`, exporters, exit and fork, signals.

The one package that imports the SDK, but for run files. Nothing here knows how a stage is recorded.
"""
