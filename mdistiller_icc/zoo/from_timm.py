"""timm's classification networks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mdistiller_icc.errors import UserError
from mdistiller_icc.features import mixed, stage_layers, stem_first, with_features
from mdistiller_icc.probe import returned

from .image_size import resized_for
from .weights import Weights


def names() -> list[str]:
    """Every network."""
    return list(_timm().list_models())


def tags(name: str) -> list[str]:
    """The names of a network's trained weights, the usual ones first."""
    default = _timm().get_pretrained_cfg(name)
    usual = [default.tag] if default is not None and default.tag else []
    every = [entry.partition(".")[2] for entry in _timm().list_pretrained(f"{name}.*")]
    return [*usual, *(tag for tag in every if tag not in usual)]


def weights(name: str, tag: str) -> Weights:
    """What is known of a network's weights; those that are usual without a tag.

    Raises:
        UserError: it has none.
    """
    told = _timm().get_pretrained_cfg(f"{name}.{tag}" if tag else name)
    if told is None or not told.has_weights:
        raise UserError(f"timm has no trained weights of {name}; name a file with DISTILLER.TEACHER_CKPT")
    return Weights(told.hf_hub_id or told.url or told.file or "timm", told.num_classes, told.mean, told.std)


def build(name: str, tag: str, num_classes: int, pretrained: bool) -> nn.Module:
    """A network that hands out its features by timm's own interfaces, where it has them; see `ZooNetwork`.

    Raises:
        UserError: its weights cannot be fetched.
    """
    full = f"{name}.{tag}" if tag else name
    if pretrained:
        where = weights(name, tag).where
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every new attempt
        try:
            model = _timm().create_model(full, pretrained=True, num_classes=num_classes)
        except (OSError, RuntimeError, ValueError) as error:  # whatever a hub, a network or a file in a cache may say
            reason = str(error).partition(". ")[0].partition("\n")[0]
            raise UserError(
                f"timm/{full}: its weights cannot be had from {where} ({reason:.120}); HF_HOME may be a folder that "
                "has them, DISTILLER.TEACHER_CKPT and STUDENT_CKPT files"
            ) from None
    else:
        model = _timm().create_model(full, num_classes=num_classes)
    told = model.pretrained_cfg
    size = told["input_size"][-1]
    return resized_for(_handing_out(model, size), size, fixed=told.get("fixed_input_size", False))


class HandsOut(nn.Module):
    """Is mixed into the class of a network of timm's, so that it returns its features beside its logits."""

    forward_intermediates: Callable[..., tuple[Tensor, list[Tensor]]]
    forward_head: Callable[..., Tensor]
    get_classifier: Callable[[], nn.Module]

    def forward(self, image: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Logits (B, C); the stages' maps, for want of others also as those before a ReLU; the pooled feature."""
        feature, maps = self.forward_intermediates(image)
        pooled = self.forward_head(feature, pre_logits=True)
        maps = stem_first(maps, maps[0].shape[-1], image.shape[-1])
        head = self.get_classifier()
        logits: Tensor = head(pooled[:, :, None, None]).flatten(1) if isinstance(head, nn.Conv2d) else head(pooled)
        return logits, {"feats": maps, "preact_feats": maps, "pooled_feat": pooled}


def _handing_out(model: nn.Module, size: int) -> nn.Module:
    """The same network, by timm's interfaces if they lead to the very logits, else by hooks on its layers."""
    kind, logits = type(model), returned(model, size)
    mixed(model, HandsOut)
    try:
        again, features = returned(model, size)
        if torch.allclose(again, logits, atol=1e-4) and features["pooled_feat"].dim() == 2:
            return model
    except (UserError, AttributeError, IndexError, TypeError, NotImplementedError):  # some lack them, or differ
        pass
    model.__class__ = kind
    layers = stage_layers(model, size)
    return with_features(model, stages=layers, preact_stages=layers)


def _timm() -> Any:
    try:
        import timm.models
    except ImportError:
        raise UserError("timm is not installed: pip install 'mdistiller_icc[timm]'") from None
    return timm.models
