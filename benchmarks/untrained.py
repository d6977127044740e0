"""A method around untrained networks, from either host's registries: a teacher's weights do not change its speed."""

from __future__ import annotations

from typing import Any

import torch

from mdistiller_icc.errors import UserError, nearest


def distiller(distillers: dict[str, Any], models: dict[str, Any], cfg: Any, num_classes: int, num_data: int) -> Any:
    """Build what ``cfg.DISTILLER`` names from mdistiller's ``distiller_dict`` and ``cifar_model_dict``, or from ours.

    Raises:
        UserError: there is no such network.
    """
    torch.manual_seed(0)
    method, names = cfg.DISTILLER.TYPE, (cfg.DISTILLER.STUDENT, cfg.DISTILLER.TEACHER)
    for name in names:
        if name not in models:
            raise UserError(f"benchmarks: no network '{name}' for CIFAR-100{nearest(name, models)}")
    student, teacher = (models[name][0](num_classes=num_classes) for name in names)
    if method == "NONE":
        return distillers[method](student)
    if method == "CRD":  # its defaults fit one pair only
        cfg.defrost()
        cfg.CRD.FEAT.STUDENT_DIM, cfg.CRD.FEAT.TEACHER_DIM = student.fc.in_features, teacher.fc.in_features
        return distillers[method](student, teacher, cfg, num_data)
    return distillers[method](student, None if method == "ICC" else teacher, cfg)
