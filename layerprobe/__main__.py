"""`python -m layerprobe`."""

from layerprobe.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
