"""Train one member: `accelerate launch train/train.py [--recipe train/recipes/….toml] [--lr 3e-4 …]`.

Without arguments it draws phantoms, trains on them in a minute or two on two CPU cores, and saves a member folder.
"""

import sys
from pathlib import Path

# Python puts this folder first on the path, where `import train` would find train.py; the repository root belongs
# there. (With `python -P` this folder is not on the path at all.)
_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from medseg.training.__main__ import train

if __name__ == "__main__":
    train(sys.argv[1:])
