"""Segmentation before networks: thresholds, clusters, graphs, contours, watersheds."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clustering": ["color_clusters", "kmeans", "kmeans_plusplus"],
        "contours": [
            "active_contour",
            "checkerboard_level_set",
            "circle",
            "inverse_gaussian_gradient",
            "morphological_chan_vese",
            "morphological_geodesic_active_contour",
        ],
        "flooding": ["split_touching", "watershed"],
        "forest": ["classify", "pixel_features", "train_forest"],
        "gaussians": ["GaussianMixture"],
        "graph_cut": ["contrast_weights", "energy", "minimum_cut"],
        "interactive": ["grabcut", "mask_energy", "trimap_from_box"],
        "mode_seeking": ["color_modes", "mean_shift"],
        "partitions": [
            "achievable_segmentation_accuracy",
            "boundary_recall_precision",
            "majority_labels",
            "undersegmentation_error",
        ],
        "pixels": ["edge_strength", "gray", "lab"],
        "region_merging": ["felzenszwalb"],
        "regions": ["region_growing"],
        "superpixels": ["join_small_pieces", "slic"],
        "thresholds": [
            "apply_thresholds",
            "between_class_variance",
            "multi_otsu",
            "niblack",
            "otsu",
            "sauvola",
        ],
    },
)
