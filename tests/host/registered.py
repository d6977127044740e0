"""Registers in the host that is chosen and prints what became of its registries, as JSON; run by test_register.py."""

from __future__ import annotations

import json
import sys
from typing import Any

from mdistiller_icc import register
from mdistiller_icc.config import load_config
from mdistiller_icc.host import get_host

REGISTRIES = (
    "distiller_dict",
    "trainer_dict",
    "cifar_model_dict",
    "tiny_imagenet_model_dict",
    "imagenet_model_dict",
)

host = get_host()
for name in sys.argv[1:]:  # what a fork has registered already
    host.distiller_dict[name] = name
before: dict[str, dict[str, Any]] = {name: dict(getattr(host, name)) for name in REGISTRIES}
first = register()
after = {name: dict(getattr(host, name)) for name in REGISTRIES}
again = register()
cifar = host.cifar_model_dict
read = load_config(host.CFG, None, ["KD.TEMPERATURE", "2.5", "DKD.T", "4", "SOLVER.LR", "1", "ICCKD.ALPHA", "1"])
facts = {
    "host": host.name,
    "identity": first is again and first.host is host,
    "kept as they were": all(after[name][key] is entry for name in REGISTRIES for key, entry in before[name].items()),
    "same after the second call": all(dict(getattr(host, name)) == after[name] for name in REGISTRIES),
    "new": {name: [key for key in after[name] if key not in before[name]] for name in REGISTRIES},
    "said": first.added,
    "kept": first.kept,
    "factories are X's": all(
        cifar[f"{key}_{kind}"][0] is factory
        for key, (factory, _) in before["cifar_model_dict"].items()
        for kind in ("icc", "vanilla")
    ),
    "files": [cifar["resnet8_icc"][1], cifar["wrn_40_2_vanilla"][1]]
    + [file for name, (_, file) in host.tiny_imagenet_model_dict.items() if name == "ResNet18_icc"],
    "nodes": [name for name in host.distiller_dict if name not in before["distiller_dict"] and name in host.CFG],
    "numbers": [read.KD.TEMPERATURE, read.DKD.T, read.SOLVER.LR, read.ICCKD.ALPHA],
}
print(json.dumps(facts))
