"""What one writes without scalecheck: every tensor through torch in float32, one by one."""

import json
import sys

from safetensors import safe_open


def main(paths: list[str]) -> None:
    """Prints name, rms, std, mean and absmax of every tensor as JSON."""
    scales = {}
    for path in paths:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 # a safe_open handle is no mapping
                w = file.get_tensor(name).float()
                scales[name] = [
                    w.square().mean().sqrt().item(),
                    w.std(correction=0).item(),
                    w.mean().item(),
                    w.abs().max().item(),
                ]
    json.dump(scales, sys.stdout)


main(sys.argv[1:])
