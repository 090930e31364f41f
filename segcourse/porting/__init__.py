"""Porting: networks that other libraries built and trained, as ours, which compute the same."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "detectors": ["detr_from_transformers", "mask_rcnn_from_torchvision"],
        "semantic": [
            "deeplab_v3_from_torchvision",
            "deeplab_v3_plus_from_smp",
            "fcn_resnet_from_torchvision",
            "pspnet_from_smp",
        ],
    },
)
