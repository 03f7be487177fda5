"""`python -m modnas_fast`, for starters of processes such as torchrun: the command line."""

from modnas_fast.cli import main

if __name__ == "__main__":
    main()
