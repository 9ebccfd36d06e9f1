"""Train a stacker: `accelerate launch train/stack.py --ensemble my-ensemble --data path/to/folder [--with-image] …`.

It learns on the members' probabilities of the val split, which none of them was trained on. `<output>/ensemble` is the
ensemble with the stacker in it, ready for `Ensemble.from_pretrained`.
"""

import sys
from pathlib import Path

# Python puts this folder first on the path, where `import train` would find train.py; the repository root belongs
# there. (With `python -P` this folder is not on the path at all.)
_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from medseg.training.__main__ import stack

if __name__ == "__main__":
    stack(sys.argv[1:])
