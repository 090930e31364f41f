"""Metrics: counts that add up over batches, and scores that are read off them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "boundary": [
            "assd",
            "average_surface_distance",
            "boundary_f1",
            "boundary_iou",
            "boundary_precision_recall",
            "class_scores",
            "hausdorff_distance",
            "hausdorff_distance_95",
            "mean_by_class",
            "mean_by_image",
            "surface_dice",
            "surface_distances",
            "trimap",
            "trimap_iou",
        ],
        "instance": [
            "Matches",
            "PrecisionCurves",
            "average_precision",
            "coco_box_iou",
            "coco_mask_iou",
            "match_detections",
            "precision_curves",
        ],
        "panoptic": [
            "PanopticQuality",
            "mean_panoptic_quality",
            "panoptic_counts",
            "panoptic_quality",
        ],
        "semantic": [
            "class_accuracy",
            "cohen_kappa",
            "confusion_matrix",
            "dice",
            "f_beta",
            "frequency_weighted_iou",
            "iou",
            "mean_accuracy",
            "mean_dice",
            "mean_iou",
            "mean_precision",
            "micro_iou",
            "pixel_accuracy",
            "precision",
            "recall",
            "specificity",
        ],
    },
)
