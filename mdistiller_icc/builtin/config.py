"""The built-in host's configuration: mdistiller's schema and defaults, with one node per method."""

from __future__ import annotations

from yacs.config import CfgNode

from mdistiller_icc import schema
from mdistiller_icc.builtin.distillers import distiller_dict
from mdistiller_icc.settings import node

CFG: CfgNode = node({**schema.MDISTILLERS, "COMPAT": schema.COMPAT})

for _name, _method in distiller_dict.items():
    if _method.settings:
        CFG[_name] = _method.defaults()
