"""`python -m memory_routing` is the command `memory-routing`."""

from memory_routing.cli import main

if __name__ == "__main__":
    main()
