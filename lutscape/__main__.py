"""``python -m lutscape``: the command line."""

from lutscape.cli import main

if __name__ == "__main__":
    main()
