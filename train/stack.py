"""Train a stacker: `accelerate launch train/stack.py --ensemble my-ensemble --data path/to/folder [--with-image] …`.

It learns on what the members answer for the val split, which none of them was trained on. `<output>/ensemble` is the
ensemble with the stacker in it, ready for `Ensemble.from_pretrained`.
"""

import sys
from pathlib import Path

# as in train.py: the repository root belongs on the path, not this folder
_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from medseg.errors import MedsegError
from train.recipe import StackRecipe, recipe_from_arguments


def main() -> None:
    try:
        recipe = recipe_from_arguments(sys.argv[1:], StackRecipe)
        from train.stacking import stack  # after the arguments: --help need not wait for torch

        stack(recipe)
    except MedsegError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
