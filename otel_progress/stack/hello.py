"""A run of two stages, to see that the servers work: `otel-progress run -m otel_progress.stack.hello`."""

from __future__ import annotations

from ..ways.stage import stage, workflow


@stage("greet")
def greet(name: str) -> str:
    """Say hello to somebody."""
    return f"Hello, {name}."


def main() -> None:
    """Greet, and tell of it."""
    with workflow("hello"):
        text = greet("stack")
        with stage("tell") as visit:
            print(text)  # noqa: T201
            visit.advance(1)


if __name__ == "__main__":
    main()
