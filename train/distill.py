"""Train a student of an ensemble: `accelerate launch train/distill.py --ensemble polyp --data DIR [--unlabelled DIR]`.

It learns the ensemble's probabilities, on labelled images beside the truth, on images without masks alone.
"""

import sys
from pathlib import Path

# as in train.py: the repository root belongs on the path, not this folder
_HERE = Path(__file__).resolve().parent
sys.path[:] = [str(_HERE.parent), *(entry for entry in sys.path if Path(entry).resolve() != _HERE)]

from medseg.training.__main__ import distill

if __name__ == "__main__":
    distill(sys.argv[1:])
