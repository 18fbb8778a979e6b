"""Check params.yaml, all of it, before the first stage of a seed or branch.

DVC removes the outputs of a stage before it runs its command, and both may have seeds and branches in their names. So
each of those stages comes after this one.
"""

from common import DATA, stage
from edgewise.data.files import write_atomically
from edgewise.params import Params


def main(params: Params) -> None:
    write_atomically(DATA / "parameters.txt", b"params.yaml is sound\n")


if __name__ == "__main__":
    stage(main)
