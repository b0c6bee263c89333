"""`python -m comfyward`: the same as the command."""

from comfyward.cli.main import main

if __name__ == "__main__":
    main()
