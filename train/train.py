"""Train one member: `accelerate launch train/train.py [--recipe train/recipes/….toml] [--lr 3e-4 …]`.

Without arguments it draws phantoms, trains on them in a minute or two on two CPU cores, and saves a member folder.
"""

import sys
from pathlib import Path

# Under `accelerate launch` sys.path[0] is this folder: `import train` would find this file, and sibling names could
# shadow other packages. The repository root belongs there. (With `python -P` this folder is not on the path at all.)
_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from medseg.errors import MedsegError
from train.recipe import recipe_from_arguments


def main() -> None:
    try:
        recipe = recipe_from_arguments(sys.argv[1:])
        from train.loop import train  # after the arguments: --help need not wait for torch

        train(recipe)
    except MedsegError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
