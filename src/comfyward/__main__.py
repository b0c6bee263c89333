"""`python -m comfyward`, the same as the command `comfyward`."""

from comfyward.cli.main import main

if __name__ == "__main__":
    main()
