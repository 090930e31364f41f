"""Functions of tensors that everything else is made of: boxes, masks, labels, run-length codes."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "anchors": ["cell_anchors", "decode_boxes", "encode_boxes", "grid_anchors"],
        "borders": ["reflect_pad"],
        "boxes": [
            "box_area",
            "box_iou",
            "check_boxes",
            "clip_boxes_to_image",
            "from_cxcywh",
            "from_xywh",
            "generalized_box_iou",
            "to_cxcywh",
            "to_xywh",
        ],
        "coco_polygons": ["coco_polygons_to_mask"],
        "components": ["connected_components", "objects_from_classes"],
        "crf": ["brute_force_crf", "dense_crf"],
        "distance": ["signed_distance", "signed_distance_of_masks", "unsigned_distance_of_masks"],
        "gaussian_sum": ["GaussianSum"],
        "image_batch": ["ImageBatch", "batch_images"],
        "instances": [
            "Detections",
            "Instances",
            "check_instances",
            "instances_from_maps",
            "normalized_cxcywh",
        ],
        "labels": ["IGNORE", "check_labels", "colorize", "object_masks"],
        "masks": ["check_mask", "from_one_hot", "mask_box", "one_hot", "paint_masks"],
        "matching": ["match_anchors"],
        "merging": ["merge_by_argmax", "merge_panoptic"],
        "panoptic": ["DIVISOR", "ids_to_rgb", "panoptic_ids", "rgb_to_ids", "split_ids"],
        "plain_roi": ["plain_roi_align", "plain_roi_pool"],
        "polygons": ["mask_to_polygons", "polygon_area", "polygons_to_mask", "simplify"],
        "rle": [
            "compress",
            "decode_rle",
            "encode_rle",
            "expand",
            "intersection_rle",
            "rle_area",
            "rle_box",
            "union_rle",
        ],
        "roi": ["crop_masks", "paste_masks", "paste_rounded", "roi_align", "roi_pool"],
        "suppression": ["nms", "plain_nms", "soft_nms"],
    },
)
