"""Losses: what a network is trained to minimise, and the weights of classes and pixels."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "boundary": ["boundary_loss", "hausdorff_dt_loss"],
        "lovasz": ["lovasz_hinge_loss", "lovasz_softmax_loss", "lovasz_weights"],
        "overlap": [
            "dice_loss",
            "focal_tversky_loss",
            "generalized_dice_loss",
            "jaccard_loss",
            "log_cosh_dice_loss",
            "log_dice_loss",
            "tversky_loss",
        ],
        "pixelwise": [
            "balanced_cross_entropy",
            "bootstrapped_cross_entropy",
            "cross_entropy",
            "focal_loss",
            "ohem_cross_entropy",
            "pixel_weighted_cross_entropy",
            "sigmoid_focal_loss",
        ],
        "set_matching": ["Indices", "hungarian_match", "set_loss", "set_mask_loss"],
        "weights": [
            "border_weights",
            "class_counts",
            "frequency",
            "inverse_frequency_weights",
            "log_frequency_weights",
            "median_frequency_weights",
        ],
    },
)
